"""How examples are put together for a pass: what the training does and the planner foretells."""

from math import ceil, sqrt
from typing import Final

MOST_UPDATES_IN_A_WINDOW: Final = 50
LEAST_WINDOWS: Final = 4
# A forward and backward pass costs about as much as so many tokens even when it is nearly empty.
TOKENS_A_PASS_COSTS: Final = 64
# Each lane has shapes of its own for the libraries to remember, so they are not as many as cores.
_MOST_LANES: Final = 4
# Two threads in one product did the work of 1.6.
_THREADS_IN_ONE_PRODUCT: Final = 0.68


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


def most_lanes(threads: int) -> int:
    """Return how many parts of an update may go through the model side by side on a processor."""
    return max(1, min(_MOST_LANES, threads))


def relative_seconds(largest_share: float, threads: int, lanes: int) -> float:
    """Return how long an update takes, beside others on the same machine.

    Args:
        largest_share: what the lane does that has most to do.
        threads: of the processor, of which each lane has its part.
        lanes: how many there are.
    """
    speed: float = (threads // lanes) ** _THREADS_IN_ONE_PRODUCT
    return largest_share / speed


def unevenness(rows: int, threads: int) -> float:
    """Return how much longer an update takes for having few rows, which no two lanes can share."""
    ideal = relative_seconds(1 / most_lanes(threads), threads, most_lanes(threads))
    usual = min(
        relative_seconds(ceil(rows / lanes) / rows, threads, lanes)
        for lanes in range(1, min(rows, most_lanes(threads)) + 1)
    )
    return usual / ideal
