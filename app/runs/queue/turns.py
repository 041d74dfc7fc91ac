"""Whose turn it is: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).

Each waiting run carries a tag, `runs.turn`, in seconds of device time, and the lowest tag goes
first. A person's next run is tagged where the person's own runs before it end; someone who comes
anew is tagged where the queue is now, which is the tag of the run that was begun last:

    turn(run) = max(now in the queue, max over the person's own runs of (turn + expected seconds))

So people take turns by time and not by number: beside runs of an hour, six of ten minutes are one
turn. Twenty runs of one person stand between those of everyone else and not before them; nobody
saves turns up while they ask for nothing, and nobody pays for hours in which no one else wanted the
device. The tag is fixed when a run is queued, so a place once told moves only when something does:
what a run really took, when it leaves, moves the person's later runs (`leave`).

Runs that need a certain kind of device line up apart from those that any device can train, each
line by the same rule: otherwise whoever waits for a graphics card would lose turns on processors.

The page, a run's place and the claim all read one order, ORDER in repository.py: by the tag, then
by the time of asking. What an administrator puts first or later is given another tag.
"""

from collections.abc import Sequence
from typing import Final

ORDINARY_SECONDS: Final = 300.0
"""What a run counts for whose length nobody could estimate."""
TOO_LITTLE_TO_MOVE: Final = 0.1
"""What a run took is looked away from as long as it is off by less than this share: places that
were told keep their order, and two people with runs alike take strict turns."""
_STEP: Final = 1.0
_APART: Final = 0.001


def newcomers_turn(now_in_queue: float, own_end: float | None) -> float:
    """Return the tag of a run that joins: behind the person's own, and never in the past."""
    return now_in_queue if own_end is None else max(now_in_queue, own_end)


def order_of_tags(
    tags: Sequence[tuple[str, float]], place: int, new_place: int
) -> dict[str, float]:
    """Return the tags that change when one of those that wait is put elsewhere.

    It gets a tag between its new neighbours. Where these have the same, the ones behind it get
    another too, because the time of asking would decide between equals.

    Args:
        tags: id and tag of all that wait, in the order of their turn.
        place: where it stands among them.
        new_place: where it is to stand.
    """
    if place == new_place:
        return {}
    rest = [*tags[:place], *tags[place + 1 :]]
    before = rest[new_place - 1][1] if new_place > 0 else None
    after = rest[new_place][1] if new_place < len(rest) else None
    newest = _between(before, after)
    changed = {tags[place][0]: newest}
    for run_id, turn in rest[new_place:]:
        if turn > newest:
            break
        newest += _APART
        changed[run_id] = newest
    return changed


def _between(before: float | None, after: float | None) -> float:
    """Return a tag behind one neighbour and, if there is room, before the other."""
    if before is None:
        return (after or 0.0) - _STEP
    if after is None:
        return before + _STEP
    return (before + after) / 2 if before < after else before + _APART
