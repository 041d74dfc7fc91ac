"""Joining the queue, being claimed from it, and leaving it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.database.base import JsonObject
from app.jobs import RUNS_QUEUE
from app.leases.repository import claim_and_read
from app.runs.queue import repository, turns
from app.runs.queue.forecast import NOBODY_HELD, People
from app.runs.queue.hints import wake_workers
from app.runs.queue.limits import WEEK_SECONDS, Limit, Limits, hold_of
from app.runs.queue.needs import Needs, Serves
from app.runs.queue.places import QueuePlace, places
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.workers.device import OneDevice
from app.workers.repository import devices_there


@dataclass(frozen=True)
class Claim:
    """A run that was just claimed.

    Attributes:
        attempts: claims that ended without a result, this one included.
        finishes: someone wants it to learn no more and to keep its best.
        event_count: the number of its newest event.
        needs_memory_bytes: of each device that trains it; None if nobody knows.
    """

    run_id: str
    fence: int
    attempts: int
    recipe: JsonObject
    finishes: bool
    event_count: int
    needs_memory_bytes: int | None


_READ = (
    *(Run.attempts, Run.recipe, Run.finish_requested_at, Run.event_count),
    Run.needs_memory_bytes,
)


def line_up(session: Session, run: Run) -> None:
    """Give a run that is to wait its turn, and wake those who could train it after the commit."""
    now_in_queue = repository.now_in_queue(session, run)
    run.turn = turns.newcomers_turn(now_in_queue, repository.own_end(session, run))
    wake_workers(session, run.id, _needs_of(run))


def _needs_of(run: Run) -> Needs:
    return Needs(run.needs_kind, run.needs_memory_bytes, run.needs_devices, run.needs_bits)


def leave(session: Session, run_id: str, status: RunStatus) -> None:
    """Write down that a run has its device no longer, and what follows for those that wait.

    One that waits again keeps its turn: whatever took its device from it, it is next.
    """
    took = repository.end_use(session, run_id)
    if status != RunStatus.QUEUED:
        repository.settle(session, run_id, took)


def claim_next(
    session: Session,
    owner: str,
    device: OneDevice | None,
    values: Mapping[str, Any],
    count_free: Callable[[], int] = lambda: 1,
) -> Claim | None:
    """Claim the run whose turn it is on a device, or None if none may start on it.

    One that must have more devices than are free is waited for: nobody overtakes it on its
    machine, or it would wait for ever.

    Args:
        session: the claim's own transaction.
        owner: who claims.
        device: what is free; None stands for one that trains what any device can.
        values: columns that change with the claim.
        count_free: says how many of its machine are free, itself included; asked only where it
            matters, because to look is to take for a moment.
    """
    found = _first_that_may_start(session, Serves.by(device))
    if found is None or (found.needs_devices > 1 and found.needs_devices > count_free()):
        return None
    run_id, person_id = found.run_id, found.person_id
    changed = {**values, "device": None if device is None else device.as_json()}
    row = claim_and_read(
        session, Run, run_id, _READ, owner=owner, claimable=[RunStatus.QUEUED], values=changed
    )
    if row is None:
        return None
    repository.begin_use(session, run_id, person_id)
    fence, attempts, recipe, finish_requested_at, event_count, memory = tuple(row)
    finishes = finish_requested_at is not None
    return Claim(run_id, fence, attempts, recipe, finishes, event_count, memory)


def is_any_for(session: Session, devices: Sequence[OneDevice]) -> bool:
    """Say whether a run is worked on anywhere, or waits that one of the devices may begin.

    Unlike a claim it only looks, and keeps nobody from what it finds.
    """
    serving = [Serves.by(device) for device in devices]
    holds = people_now(session).holds
    return any(
        entry.is_active
        or (
            entry.person_id not in holds
            and any(serves.can_train(entry.needs) for serves in serving)
        )
        for entry in repository.entries(session)
    )


def use_further(session: Session, run: Run, count: int) -> None:
    """Write down that a run has so many devices besides the one on which it was claimed."""
    for _ in range(count):
        repository.begin_use(session, run.id, run.requested_by_id)


def people_now(session: Session) -> People:
    """Return the limits, and whom they hold back at this moment."""
    limits = repository.limits(session)
    if limits.are_empty:
        return NOBODY_HELD
    in_work = repository.in_work_by_person(session) if limits.count_runs else {}
    moment, uses = _uses_over_limit(session, limits) if limits.count_hours else (0.0, {})
    holds = {
        person: hold
        for person in {*in_work, *uses}
        if (
            hold := hold_of(limits.of(person), in_work.get(person, 0), uses.get(person, ()), moment)
        )
    }
    return People(limits, holds, moment)


def _uses_over_limit(session: Session, limits: Limits) -> tuple[float, repository.Uses]:
    """Return the time, and the last week's uses of those who have had all that they may have.

    Only they are read one by one: this must not take longer the more was trained.
    """
    moment, used = repository.seconds_used(session, WEEK_SECONDS)
    over = {
        person
        for person, seconds in used.items()
        if (hours := limits.of(person).device_hours_a_week) is not None and seconds >= hours * 3600
    }
    return moment, repository.uses_of(session, over, moment - WEEK_SECONDS, moment)


def places_in_queue(session: Session, run_ids: Collection[str]) -> dict[str, QueuePlace]:
    """Return where those of the runs stand that wait."""
    return places(
        repository.entries(session),
        run_ids,
        devices_there(session, RUNS_QUEUE),
        people_now(session),
    )


def _first_that_may_start(session: Session, serves: Serves) -> repository.FirstInTurn | None:
    """Return the first run that no limit holds back.

    Runs in work are counted for everybody at once: those who have as many as they may stay at the
    head of the queue, where each claim would meet them. Hours are added up for the one person whose
    turn it is, and for everybody only once they hold that person back: a claim must not take longer
    the more was trained.
    """
    limits = repository.limits(session)
    if limits.are_empty:
        return repository.first_waiting(session, serves, ())
    held_back = _at_work_limit(session, limits)
    knows_all_holds = False
    while True:
        # With the savepoint the locks go, so that nobody waits for what we do not take.
        with session.begin_nested() as attempt:
            found = repository.first_waiting(session, serves, held_back)
            if found is None or found.person_id is None:
                return found
            if _may_begin(session, found.person_id, limits.of(found.person_id)):
                return found
            attempt.rollback()
        held_back.add(found.person_id)
        if not knows_all_holds:
            held_back.update(people_now(session).holds)
            knows_all_holds = True


def _at_work_limit(session: Session, limits: Limits) -> set[str]:
    """Return the people who have as many runs in work as they may."""
    if not limits.count_runs:
        return set()
    return {
        person
        for person, count in repository.in_work_by_person(session).items()
        if (most := limits.of(person).runs_at_once) is not None and count >= most
    }


def _may_begin(session: Session, person_id: str, limit: Limit) -> bool:
    """Say whether a person may begin one more run; until the commit nobody else begins theirs."""
    if limit.runs_at_once is not None:
        in_work = repository.in_work_once_locked(session, person_id)
        if in_work >= limit.runs_at_once:
            return False
    if limit.device_hours_a_week is None:
        return True
    used = repository.seconds_used_by(session, person_id, WEEK_SECONDS)
    return used < limit.device_hours_a_week * 3600
