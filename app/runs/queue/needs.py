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
        memory_bytes: of how much memory even its smallest form has need; None if nobody knows.
        devices: how many of one machine it must have at once.
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None
    devices: int = 1


ANYTHING: Final = Needs()


def needs_of(recipe: Recipe) -> Needs:
    """Return what a recipe needs.

    Frozen weights in few bits are calculated with on a card only. A model that is divided fits on
    no fewer devices than it was divided for; any other run begins on those that are free.
    """
    kind = None if recipe.quantization == Quantization.NONE else DeviceKind.CUDA
    return Needs(kind, devices=recipe.devices if recipe.divides_model else 1)


@dataclass(frozen=True)
class Serves:
    """What the device that is free can do.

    Attributes:
        kind: what it is; None for one that says nothing, which trains what any device can.
        memory_bytes: all that it has; None if nobody knows, and then memory decides nothing.
        devices: how many there are in its machine.
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None
    devices: int = 1

    @classmethod
    def by(cls, one: OneDevice | None) -> Self:
        if one is None:
            return cls()
        return cls(one.kind, one.device.memory_bytes, one.host_devices)

    def can_train(self, needs: Needs) -> bool:
        """Say the same as the claim's SQL (repository.first_waiting)."""
        if needs.kind is not None and needs.kind != self.kind:
            return False
        if needs.devices > self.devices:
            return False
        return (
            needs.memory_bytes is None
            or self.memory_bytes is None
            or needs.memory_bytes <= self.memory_bytes
        )
