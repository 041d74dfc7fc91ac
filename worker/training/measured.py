"""What held-out examples said."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """What the held-out items said.

    Attributes:
        loss: the mean over all units.
        right: the share of items that came out right; None where there is no right and wrong.
        confusion: for kinds, how often a text of one kind (first) was taken for another (second).
    """

    loss: float
    right: float | None = None
    confusion: Mapping[tuple[int, int], int] = field(default_factory=dict)
