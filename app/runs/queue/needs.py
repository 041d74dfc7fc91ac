"""What a run needs of a device, and what a device serves. Pure."""

from dataclasses import dataclass
from typing import Final, Self

from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from app.workers.device import DeviceKind, OneDevice


@dataclass(frozen=True)
class Needs:
    """What a device must have for a run.

    Attributes:
        kind: the only kind of device that can train it; None if any can.
        memory_bytes: of how much memory even its smallest form has need; None if nobody knows, or
            if no device that was there when it was queued had so much.
        devices: how many of one machine it must have at once.
        bits: the form of few bits in which the device must be able to hold the base model, if any.
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None
    devices: int = 1
    bits: Quantization | None = None


ANYTHING: Final = Needs()


def needs_of(recipe: Recipe, memory_bytes: int | None = None) -> Needs:
    """Return what a recipe needs, and of how much memory, where the planner is sure of it.

    Not every device can calculate with weights in few bits. A model that is divided fits on no
    fewer devices than it was divided for; any other run begins on those that are free.
    """
    bits = None if recipe.quantization is Quantization.NONE else recipe.quantization
    devices = recipe.devices if recipe.divides_model else 1
    return Needs(memory_bytes=memory_bytes, devices=devices, bits=bits)


@dataclass(frozen=True)
class Serves:
    """What the device that is free can do.

    Attributes:
        kind: what it is; None for one that says nothing, which trains what any device can.
        memory_bytes: all that it has; None if nobody knows, and then memory decides nothing.
        devices: how many there are in its machine.
        few_bits: the forms of few bits in which it can hold a base model.
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None
    devices: int = 1
    few_bits: tuple[str, ...] = ()

    @classmethod
    def by(cls, one: OneDevice | None) -> Self:
        if one is None:
            return cls()
        return cls(one.kind, one.device.memory_bytes, one.host_devices, one.few_bits)

    def can_train(self, needs: Needs) -> bool:
        """Say the same as the claim's SQL (repository.first_waiting)."""
        if needs.kind is not None and needs.kind != self.kind:
            return False
        if needs.devices > self.devices:
            return False
        if needs.bits is not None and needs.bits not in self.few_bits:
            return False
        return (
            needs.memory_bytes is None
            or self.memory_bytes is None
            or needs.memory_bytes <= self.memory_bytes
        )
