"""How examples are put together for a pass: what the training does and the planner foretells."""

from math import sqrt
from typing import Final

MOST_UPDATES_IN_A_WINDOW: Final = 50
LEAST_WINDOWS: Final = 4
# A forward and backward pass costs about as much as so many tokens even when it is nearly empty.
TOKENS_A_PASS_COSTS: Final = 64


def updates_in_window(updates: int) -> int:
    """Return over how many updates of an epoch the examples are sorted by their length."""
    return max(1, min(MOST_UPDATES_IN_A_WINDOW, updates // LEAST_WINDOWS))


def likely_groups(spread: float, count: int) -> int:
    """Return into about how many groups the best division puts neighbours.

    A group of k costs a pass and fills k (k - 1) / 2 steps between lengths that lie evenly apart.

    Args:
        spread: tokens between the shortest and the longest of an update.
        count: how many there are.
    """
    if count < 2 or spread <= 0.0:
        return 1
    step = spread / (count - 1)
    return max(1, min(count, round(count / sqrt(2 * TOKENS_A_PASS_COSTS / step))))
