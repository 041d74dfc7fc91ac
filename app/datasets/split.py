"""Which examples are held out of training, to measure honestly afterwards.

One in ten, at least 5 and at most 200, none below 20 examples. The choice follows the SHA-256 of
the question without case and blanks: it is the same every time, copies of a question never stand
on both sides, and adding examples changes few of the choices. Where examples are sorted into kinds,
each kind has its share.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

SMALLEST_TO_HOLD_OUT: Final = 20
LEAST: Final = 5
MOST: Final = 200


def held_out_target(count: int) -> int:
    """Return how many of so many examples are to be held out."""
    if count < SMALLEST_TO_HOLD_OUT:
        return 0
    return max(LEAST, min(MOST, round(count / 10)))


def split_key(question: str) -> str:
    """Return the same key for the same question, whatever its case and blanks."""
    normalised = " ".join(question.casefold().split())
    return hashlib.sha256(normalised.encode("utf-8", "replace")).hexdigest()


def choose_held_out(keys: Iterable[str], count: int) -> frozenset[str]:
    """Choose the keys whose examples are held out.

    Memory does not grow with the data: only the smallest few hundred keys are kept. A key that
    was once among them and fell out never comes back, so the counts of those kept are exact.

    Args:
        keys: the split key of every example, copies included.
        count: how many examples there are.
    """
    target = held_out_target(count)
    if target == 0:
        return frozenset()
    # A question with very many answers would take the whole part; it stays in training.
    most = min(MOST, max(target, count // 4))
    smallest = _smallest_keys(keys, room=4 * target + 64)
    chosen: list[str] = []
    held_out = 0
    for key in sorted(smallest):
        if held_out >= target:
            break
        if held_out + smallest[key] <= most:
            chosen.append(key)
            held_out += smallest[key]
    return frozenset(chosen)


def choose_held_out_of_each(
    keys: Iterable[tuple[str, str]], counts: Mapping[str, int]
) -> frozenset[str]:
    """Choose keys so that each stratum, such as a kind, has its share of what is held out.

    One is held out of every stratum that has two examples or more, and never more than half of
    one, so that nothing is asked about that was not learned. With very many strata this may be
    more than is held out otherwise.

    Args:
        keys: the stratum and the split key of every example, copies included.
        counts: how many examples each stratum has.
    """
    quotas = held_out_of_each(counts)
    smallest: dict[str, set[str]] = defaultdict(set)
    for stratum, key in keys:
        kept = smallest[stratum]
        if stratum in quotas and key not in kept:
            kept.add(key)
            if len(kept) > quotas[stratum]:
                kept.remove(max(kept))
    return frozenset(key for kept in smallest.values() for key in kept)


def held_out_of_each(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many are to be held out of each stratum; those without a share lack."""
    count = sum(counts.values())
    target = held_out_target(count)
    if target == 0:
        return {}
    return {
        stratum: min(most, max(1, round(target * number / count)))
        for stratum, number in counts.items()
        if (most := number // 2)
    }


def _smallest_keys(keys: Iterable[str], room: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    largest_first: list[_Reversed] = []
    for key in keys:
        if key in counts:
            counts[key] += 1
        elif len(counts) < room:
            counts[key] = 1
            heapq.heappush(largest_first, _Reversed(key))
        elif key < largest_first[0].key:
            counts[key] = 1
            del counts[heapq.heapreplace(largest_first, _Reversed(key)).key]
    return counts


class _Reversed:
    """Turns the heap around: its first is the largest key."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    def __lt__(self, other: "_Reversed") -> bool:
        return self.key > other.key
