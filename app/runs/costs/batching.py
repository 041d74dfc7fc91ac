"""How examples are put together for a pass: what the training does and the planner foretells."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from statistics import fmean
from typing import Final

MOST_UPDATES_IN_A_WINDOW: Final = 50
LEAST_WINDOWS: Final = 4
# A forward and backward pass costs about as much as so many tokens even when it is nearly empty.
TOKENS_A_PASS_COSTS: Final = 64
_TRAININGS_SIMULATED: Final = 5
_LEAST_SIMULATED: Final = 4
_MOST_SIMULATED: Final = 32
_ROWS_SIMULATED: Final = 256
_SHORTEST_OF_MANY: Final = 4.0
# Each lane has shapes of its own for the libraries to remember, so they are not as many as cores.
_MOST_LANES: Final = 4
# Two threads in one product did the work of 1.6.
_THREADS_IN_ONE_PRODUCT: Final = 0.68


def updates_in_window(updates: int) -> int:
    """Return over how many updates of an epoch the examples are sorted by their length."""
    return max(1, min(MOST_UPDATES_IN_A_WINDOW, updates // LEAST_WINDOWS))


def best_division(sizes: Sequence[int], most_tokens: int, *, fills: bool) -> list[int]:
    """Divide rows into micro-batches of at most so many tokens, with as little work as possible.

    The best division is one into neighbours; it is found by trying, for each beginning of the list,
    where its last group may start.

    Args:
        sizes: tokens of each row, the longest first.
        most_tokens: of a micro-batch; a longer row stands alone.
        fills: whether each row costs as much as the longest beside it. Where it does not, fewer and
            larger micro-batches are best: on two cores a model of 135 million parameters learned a
            fifth faster with them.

    Returns:
        How many rows each group has, the group of the longest last.
    """
    best = [0.0] * (len(sizes) + 1)
    starts = [0] * (len(sizes) + 1)
    for end in range(1, len(sizes) + 1):
        best[end] = best[end - 1] + sizes[end - 1] + TOKENS_A_PASS_COSTS
        starts[end] = end - 1
        taken = sizes[end - 1]
        for start in range(end - 2, -1, -1):
            taken = sizes[start] * (end - start) if fills else taken + sizes[start]
            if taken > most_tokens:
                break
            cost = best[start] + taken + TOKENS_A_PASS_COSTS
            if not fills:
                # Of as many passes those that are alike in size need the least memory.
                cost += TOKENS_A_PASS_COSTS * (taken / most_tokens) ** 2 / 2
            if cost < best[end]:
                best[end], starts[end] = cost, start
    counts: list[int] = []
    end = len(sizes)
    while end > 0:
        counts.append(end - starts[end])
        end = starts[end]
    return counts


@dataclass(frozen=True)
class FilledPasses:
    """How rows stand together where each is filled up to the longest beside it.

    Attributes:
        fullest: tokens of the largest micro-batch, filling included.
        of_an_epoch: how many there are.
    """

    fullest: int
    of_an_epoch: float


@lru_cache(maxsize=512)
def likely_passes(
    average: float, longest: int, examples: int, per_update: int, epochs: int, most_tokens: int
) -> FilledPasses:
    """Return how rows of many lengths would be put together, by putting such rows together.

    Nothing is known of their lengths but two numbers, so they are taken to lie evenly between the
    longest and what makes the average right. Then they are drawn, sorted and divided as a training
    does it (worker/training/batches.py), for as many updates as it has or as are enough.

    Args:
        average: tokens of an example.
        longest: tokens of the longest.
        examples: that are learned from in each epoch.
        per_update: examples of an update.
        epochs: passes over them.
        most_tokens: of a micro-batch.
    """
    enough = max(_LEAST_SIMULATED, min(_MOST_SIMULATED, _ROWS_SIMULATED // per_update))
    examples = max(1, examples)
    lengths = _lengths(average, longest, min(examples, enough * per_update))
    window = updates_in_window(-(-examples // per_update)) * per_update
    chance = random.Random(len(lengths))  # noqa: S311 (an order of rows)
    largest, passes, rows = [], 0, 0
    # One training's largest micro-batch is chance; the mean of several is less so.
    for _ in range(_TRAININGS_SIMULATED):
        fullest, done = 0, 0
        for _ in range(max(1, epochs)):
            chance.shuffle(lengths)
            for update in _updates(lengths, window, per_update):
                counts = best_division(update, most_tokens, fills=True)
                passes += len(counts)
                done += len(update)
                fullest = max(fullest, _fullest(update, counts))
            if done >= enough * per_update:
                break
        largest.append(fullest)
        rows += done
    return FilledPasses(round(fmean(largest)), examples * passes / rows)


def _updates(lengths: Sequence[int], window: int, per_update: int) -> Iterator[list[int]]:
    """Yield the lengths of each update, the longest first."""
    for start in range(0, len(lengths), window):
        rows = sorted(lengths[start : start + window], reverse=True)
        yield from (rows[first : first + per_update] for first in range(0, len(rows), per_update))


def _fullest(sizes: Sequence[int], counts: Sequence[int]) -> int:
    """Return the tokens of the largest group of a division, filling included."""
    largest, end = 0, len(sizes)
    for count in counts:
        end -= count
        largest = max(largest, sizes[end] * count)
    return largest


def _lengths(average: float, longest: int, count: int) -> list[int]:
    """Return lengths of about this average, of which the last is the longest."""
    average = min(max(average, 1.0), longest)
    least = max(average / _SHORTEST_OF_MANY, 2 * average - longest, 1.0)
    # Where most are far shorter than the longest, few come near it.
    bend = (longest - least) / max(average - least, 1e-9) - 1 if longest > least else 1.0
    return [
        max(1, round(least + (longest - least) * ((place + 1) / count) ** bend))
        for place in range(count)
    ]


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
