"""What a worker does with a run that it holds. Every write stands under the fence.

Each function is one step of one transaction, whose edge (the supervisor) commits.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import getpid
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import func
from sqlalchemy.orm import Session

from app.clock import now
from app.leases.repository import LostLeaseError, extend
from app.leases.tables import MAX_ATTEMPTS
from app.runs.child_events import FailureEvent, ResultEvent
from app.runs.progress import repository
from app.runs.progress.batch import Batch
from app.runs.progress.repository import Wishes
from app.runs.queue.claiming import claim_next, use_further
from app.runs.queue.needs import ANYTHING, Needs, needs_of
from app.runs.recipe import Recipe
from app.runs.status import RunStatus, check_move
from app.runs.tables import Run
from app.workers.device import OneDevice

GOES_ON: Final = "It goes on from where it was last saved."
PAUSED_BY_PERSON: Final = "It was paused. Nothing of what it has learned is lost."

_FREE: Final[dict[str, Any]] = {"lease_owner": None, "lease_expires_at": None}
_NO_PROGRESS: Final[dict[str, Any]] = {
    "tokens_per_second": None,
    "seconds_left": None,
    "memory_bytes": None,
    "phase_share": None,
}

_UNREADABLE: Final[dict[str, Any]] = {
    "code": "recipe_unreadable",
    "reason": "The settings of this training cannot be read by this version of Tailor.",
    "next_step": "Start again: the settings are written anew.",
    "permanent": True,
}


@dataclass(frozen=True)
class HeldRun:
    """A run that this worker claimed."""

    id: str
    fence: int
    recipe: Recipe
    needs: Needs = ANYTHING
    """Of each device that trains it."""
    finishes: bool = False
    """Someone wants it to learn no more and to keep its best."""


def owner_name() -> str:
    """Who we are, for people who look into the database."""
    return f"{socket.gethostname()}:{getpid()}"


def claim_next_run(
    session: Session,
    device: OneDevice | None = None,
    count_free: Callable[[], int] = lambda: 1,
) -> HeldRun | None:
    """Claim the run whose turn it is on a device, or None if none waits for one like it.

    One whose recipe cannot be read is ended on the way, so that it never stands before the others.

    Args:
        session: the claim's own transaction.
        device: what is free; None stands for one that trains what any device can.
        count_free: says how many of its machine are free, itself included.
    """
    starting = {
        "status": RunStatus.STARTING,
        "phase": "starting",
        "phase_message": "The training process starts.",
        "failure": None,
        "started_at": func.coalesce(Run.started_at, now()),
        "event_count": Run.event_count + 1,
    }
    free = (device, starting, count_free)
    while (claimed := claim_next(session, owner_name(), *free)) is not None:
        event = {"status": RunStatus.STARTING, "attempt": claimed.attempts}
        repository.add_events(session, claimed.run_id, claimed.event_count - 1, [("status", event)])
        try:
            recipe = Recipe.model_validate(claimed.recipe)
        except ValidationError as error:
            run = repository.lock_held(session, claimed.run_id, claimed.fence)
            end_locked(
                session, run, RunStatus.FAILED, _UNREADABLE["reason"], failure=_unreadable(error)
            )
            continue
        needs = needs_of(recipe, claimed.needs_memory_bytes)
        return HeldRun(claimed.run_id, claimed.fence, recipe, needs, finishes=claimed.finishes)
    return None


def look(session: Session, held: HeldRun) -> Wishes:
    """Look, without writing, whether the run still is ours, and what people want of it.

    Raises:
        LostLeaseError: if it is not ours; a cancelled one is not.
    """
    wishes = repository.wishes(session, held.id, held.fence)
    if wishes is None:
        raise LostLeaseError(f"run {held.id} is no longer held under fence {held.fence}")
    return wishes


def beat(session: Session, held: HeldRun) -> None:
    """Hold the run for another lease."""
    extend(session, Run, held.id, held.fence)


def note_devices(session: Session, held: HeldRun, devices: Sequence[OneDevice]) -> None:
    """Write down that a run that was claimed on the first of several devices has them all.

    Each counts as a device that whoever asked for the run has from now on.

    Raises:
        LostLeaseError: if it is not ours.
    """
    run = repository.lock_held(session, held.id, held.fence)
    first, *further = devices
    told = {**first.as_json(), "further": [one.device.model_dump() for one in further]}
    message = f"It learns on {len(devices)} devices at once."
    repository.write(
        session,
        *(held.id, held.fence, {"device": told}),
        [("log", {"level": "info", "message": message})],
    )
    use_further(session, run, len(further))


def write_batch(session: Session, held: HeldRun, batch: Batch) -> None:
    """Write what the training process said.

    A checkpoint further than any before shows that the run gets on, so its earlier mishaps no
    longer count against it: a long run survives more than three lost workers.
    """
    if batch.begins_anew:
        repository.forget_progress(session, held.id)
    furthest = max(batch.checkpoints, default=0)
    gets_on = furthest > 0 and furthest > repository.furthest_checkpoint(session, held.id)
    values = batch.values | {"attempts": 1} if gets_on else batch.values
    repository.write(session, held.id, held.fence, values, batch.events)
    repository.put_metrics(session, held.id, batch.metrics)
    repository.put_samples(session, held.id, batch.samples.values())
    repository.put_checkpoints(session, held.id, held.fence, batch.checkpoints.values())


def succeed(
    session: Session, held: HeldRun, result: ResultEvent, promote: Callable[[], None]
) -> Run:
    """End a run whose adapter is ready.

    The row stays locked while `promote` renames the adapter's folder, so that nobody whose lease
    ran out can put his adapter in the place of another's.

    Returns:
        The run, so that the caller can make its adapter a version in the same transaction.
    """
    run = repository.lock_held(session, held.id, held.fence)
    promote()
    values = _NO_PROGRESS | {
        "result": result.model_dump(exclude={"event"}),
        "step": result.steps,
        "phase": "finished",
        "phase_message": "",
    }
    if run.status != RunStatus.SAVING:
        check_move(run.status, RunStatus.SAVING)
    check_move(RunStatus.SAVING, RunStatus.SUCCEEDED)
    _end(session, run, RunStatus.SUCCEEDED, values, "The training is finished.")
    return run


def fail(session: Session, held: HeldRun, failure: FailureEvent) -> RunStatus:
    """Store a failure of the run. What another try may mend is tried again, three times at most.

    Returns:
        What became of the run: failed, queued again, or paused until someone makes room.
    """
    run = repository.lock_held(session, held.id, held.fence)
    if failure.code == "disk_full":
        return _rest(
            session, run, failure.reason, failure.model_dump(exclude={"event"}, exclude_none=True)
        )
    if not failure.permanent and run.attempts < MAX_ATTEMPTS:
        return give_back(session, run, f"{failure.reason} {GOES_ON}")
    if not failure.permanent:
        reason = f"{failure.reason} This happened {MAX_ATTEMPTS} times in a row."
        failure = failure.model_copy(update={"reason": reason})
    check_move(run.status, RunStatus.FAILED)
    values = _NO_PROGRESS | {"failure": failure.model_dump(exclude={"event"}, exclude_none=True)}
    if not failure.permanent:
        values |= what_is_saved(session, run)
    return _end(session, run, RunStatus.FAILED, values, failure.reason)


def requeue(session: Session, held: HeldRun, message: str) -> None:
    """Give a run back that was saved because it was asked to stop; this does not count as a try."""
    run = repository.lock_held(session, held.id, held.fence)
    give_back(session, run, message, attempts=max(0, run.attempts - 1))


def give_back(session: Session, run: Run, message: str, **values: object) -> RunStatus:
    """Put a locked run back into the queue, where the next worker finds it.

    Where someone asked for a pause, it rests instead, however it came back.
    """
    if run.pause_requested_at is not None:
        return _rest(session, run, PAUSED_BY_PERSON, None)
    check_move(run.status, RunStatus.QUEUED)
    queued = {
        "status": RunStatus.QUEUED,
        "phase": "waiting",
        "phase_message": message,
        # Whoever held it before writes nothing more.
        "fence": run.fence + 1,
    }
    event = {"status": RunStatus.QUEUED, "message": message}
    changed = _FREE | _NO_PROGRESS | what_is_saved(session, run) | queued | values
    repository.write(session, run.id, run.fence, changed, [("status", event)])
    return RunStatus.QUEUED


def what_is_saved(session: Session, run: Run) -> dict[str, Any]:
    """Return where a run that nobody works on stands: at what was saved, not at what was last said.

    The process speaks now and then only, so it saves further than it spoke, or less far if it dies.
    """
    return {"step": repository.furthest_checkpoint(session, run.id)}


def _unreadable(error: ValidationError) -> dict[str, Any]:
    return {**_UNREADABLE, "details": str(error)[:2_000]}


def _rest(session: Session, run: Run, message: str, failure: dict[str, Any] | None) -> RunStatus:
    """Let a locked run rest until someone lets it go on."""
    check_move(run.status, RunStatus.PAUSED)
    values = {
        "status": RunStatus.PAUSED,
        "phase": "paused",
        "phase_message": message,
        "failure": failure,
        "fence": run.fence + 1,
        "attempts": 0,
        "pause_requested_at": None,
    }
    event = {"status": RunStatus.PAUSED, "message": message}
    changed = _FREE | _NO_PROGRESS | what_is_saved(session, run) | values
    repository.write(session, run.id, run.fence, changed, [("status", event)])
    return RunStatus.PAUSED


def _end(
    session: Session, run: Run, status: RunStatus, values: dict[str, Any], message: str
) -> RunStatus:
    last = {
        "status": status,
        "finished_at": now(),
        "fence": run.fence + 1,
        "pause_requested_at": None,
    }
    event = {"status": status, "message": message}
    repository.write(session, run.id, run.fence, _FREE | values | last, [("status", event)])
    return status


def end_locked(
    session: Session, run: Run, status: RunStatus, message: str, **values: object
) -> None:
    """End a locked run that no worker holds any more, or take it away from the one that does."""
    check_move(run.status, status)
    _end(session, run, status, _NO_PROGRESS | values, message)
