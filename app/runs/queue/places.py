"""Where a waiting run stands: its place, when it should start, and what it waits for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from app.runs.queue.forecast import NOBODY_HELD, People, forecast
from app.runs.queue.limits import Hold
from app.runs.queue.needs import ANYTHING, Needs, Serves
from app.runs.queue.repository import QueueEntry
from app.workers.device import DeviceFacts


@dataclass(frozen=True)
class QueuePlace:
    """Where a waiting run stands.

    Attributes:
        ahead: how many waiting runs should begin before it.
        in_work: how many are trained now.
        seconds_until_start: None while no device there can train it.
        has_worker: whether anyone is there who trains at all.
        lacks: what no device there has that it needs; None if one has it.
        hold: which limit of the person who asked for it holds it back.
        hold_seconds: for how long at least; None if that depends on the runs in work.
    """

    ahead: int
    in_work: int = 0
    seconds_until_start: float | None = None
    has_worker: bool = True
    lacks: Needs | None = None
    hold: Hold | None = None
    hold_seconds: float | None = None


def places(
    entries: Sequence[QueueEntry],
    run_ids: Collection[str],
    devices: Sequence[DeviceFacts],
    people: People = NOBODY_HELD,
) -> dict[str, QueuePlace]:
    """Return where those of some runs stand that wait.

    Args:
        entries: the runs in work, then those that wait, in the order of their turn.
        run_ids: the runs that are asked for.
        devices: on what the workers that are there train.
        people: whom limits hold back.
    """
    starts = forecast(entries, devices, people)
    in_work = sum(entry.is_active for entry in entries)
    wanted = set(run_ids)
    serving = {Serves.by(one) for facts in devices for one in facts.each()}
    found = {}
    for before, entry in enumerate(entries):
        if entry.is_active or entry.run_id not in wanted:
            continue
        start = starts.get(entry.run_id)
        hold = people.holds.get(entry.person_id or "")
        can_train = any(serves.can_train(entry.needs) for serves in serving)
        found[entry.run_id] = QueuePlace(
            ahead=before - in_work if start is None else start.ahead,
            in_work=in_work,
            seconds_until_start=None if start is None else start.seconds,
            has_worker=bool(devices),
            lacks=_lacking(entry.needs, serving) if devices and not can_train else None,
            hold=hold,
            hold_seconds=_seconds_until(hold, people),
        )
    return found


def _lacking(needs: Needs, serving: Collection[Serves]) -> Needs:
    """Return what no device has of all that is needed; all of it if each has some of it."""
    each = {
        "kind": Needs(kind=needs.kind),
        "memory_bytes": Needs(memory_bytes=needs.memory_bytes),
        "devices": Needs(devices=needs.devices),
        "bits": Needs(bits=needs.bits),
    }
    met = {name for name, one in each.items() if any(serves.can_train(one) for serves in serving)}
    if met == each.keys():
        return needs
    return replace(needs, **{name: getattr(ANYTHING, name) for name in met})


def _seconds_until(hold: Hold | None, people: People) -> float | None:
    if hold is None or hold.until is None:
        return None
    return max(0.0, hold.until - people.moment)
