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
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None


ANYTHING: Final = Needs()


def needs_of(recipe: Recipe) -> Needs:
    """Return what a recipe needs: frozen weights in few bits are calculated with on a card only."""
    return ANYTHING if recipe.quantization == Quantization.NONE else Needs(DeviceKind.CUDA)


@dataclass(frozen=True)
class Serves:
    """What the device that is free can do.

    Attributes:
        kind: what it is; None for one that says nothing, which trains what any device can.
        memory_bytes: all that it has; None if nobody knows, and then memory decides nothing.
    """

    kind: DeviceKind | None = None
    memory_bytes: int | None = None

    @classmethod
    def by(cls, one: OneDevice | None) -> Self:
        return cls() if one is None else cls(one.kind, one.device.memory_bytes)

    def can_train(self, needs: Needs) -> bool:
        """Say the same as the claim's SQL (repository.first_waiting)."""
        if needs.kind is not None and needs.kind != self.kind:
            return False
        return (
            needs.memory_bytes is None
            or self.memory_bytes is None
            or needs.memory_bytes <= self.memory_bytes
        )
