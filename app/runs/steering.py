"""What people do with a run that exists: pause it, go on, finish it early, stop it for good.

A worker may hold the run meanwhile. Stopping takes it away at once. A pause and an early finish are
wishes, written into columns that whoever holds the run reads every second: now this worker, after
its death the next one. So a wish is heeded exactly once, however often it is uttered.
"""

from sqlalchemy.orm import Session

from app.clock import now
from app.runs import repository
from app.runs.errors import (
    AlreadyFinishingError,
    AlreadyOverError,
    NothingLearnedError,
    NotPausedError,
)
from app.runs.holding import PAUSED_BY_PERSON, end_locked
from app.runs.queue.claiming import leave, line_up
from app.runs.remedies import can_go_on
from app.runs.status import ACTIVE, FINAL, RunStatus, check_move
from app.runs.tables import Run


def can_pause(run: Run) -> bool:
    """Say whether a pause can be offered: it waits or learns, and nothing else is asked of it."""
    is_asked = run.pause_requested_at is not None or run.finish_requested_at is not None
    return run.status in (*ACTIVE, RunStatus.QUEUED) and not is_asked and not _is_at_its_end(run)


def can_finish(run: Run) -> bool:
    """Say whether it can be offered to keep what a run has learned so far."""
    is_asked = run.finish_requested_at is not None and not can_go_on(run)
    is_open = run.status not in FINAL or can_go_on(run)
    return is_open and run.step > 0 and not is_asked and not _is_at_its_end(run)


def _is_at_its_end(run: Run) -> bool:
    return run.status == RunStatus.SAVING


def cancel_run(session: Session, run: Run) -> None:
    """Stop a run for good, at once.

    The row changes here and now, whatever the worker does: its fence is raised, so the worker
    finds within a second that the run is no longer its own and ends the training process.

    Raises:
        AlreadyOverError: if it has ended meanwhile.
    """
    locked = repository.lock(session, run.id)
    if locked is None or locked.status in FINAL:
        raise AlreadyOverError
    end_locked(session, locked, RunStatus.CANCELLED, "It was stopped.", cancel_requested_at=now())
    session.refresh(locked)


def pause_run(session: Session, run: Run) -> None:
    """Let a run rest, and its worker do something else, until someone lets it go on.

    One that waits rests at once; one that is worked on is saved first. Asking twice changes
    nothing.

    Raises:
        AlreadyOverError: if it has ended meanwhile.
        AlreadyFinishingError: if it was asked to finish, which takes a moment only.
    """
    locked = repository.lock(session, run.id)
    if locked is None or locked.status in FINAL:
        raise AlreadyOverError
    if locked.status == RunStatus.PAUSED or locked.pause_requested_at is not None:
        return
    if locked.finish_requested_at is not None:
        raise AlreadyFinishingError
    if locked.status in ACTIVE:
        locked.pause_requested_at = now()
        _note(session, locked, "It was asked to pause: it saves where it is first.")
        return
    check_move(locked.status, RunStatus.PAUSED)
    locked.status = RunStatus.PAUSED
    locked.phase, locked.phase_message = "paused", PAUSED_BY_PERSON
    event = {"status": RunStatus.PAUSED, "message": PAUSED_BY_PERSON}
    repository.add_event(session, locked, "status", event)
    leave(session, locked.id, RunStatus.PAUSED)


def continue_run(session: Session, run: Run) -> None:
    """Put a run that can go on back into the queue: it goes on from where it was last saved.

    Raises:
        NotPausedError: if it is neither paused nor ended by what another try may mend.
    """
    locked = repository.lock(session, run.id)
    if locked is None or not can_go_on(locked):
        raise NotPausedError
    _queue_again(session, locked, "It goes on as soon as it is its turn.")


def finish_run(session: Session, run: Run) -> None:
    """Let a run learn no more, and make a version of the best that it has learned.

    One that is worked on finishes after the update it is at; one that waits or rests, as soon as a
    worker has a moment for it. Asking twice changes nothing.

    Raises:
        AlreadyOverError: if it has ended meanwhile.
        NothingLearnedError: if it has not learned anything yet.
    """
    locked = repository.lock(session, run.id)
    if locked is None or (locked.status in FINAL and not can_go_on(locked)):
        raise AlreadyOverError
    if locked.step < 1:
        raise NothingLearnedError
    is_new = locked.finish_requested_at is None
    if is_new:
        # Whoever finishes pauses no more.
        locked.finish_requested_at, locked.pause_requested_at = now(), None
    if can_go_on(locked):
        _queue_again(session, locked, "It keeps what it has learned as soon as it is its turn.")
    elif is_new:
        _note(session, locked, "It was asked to finish: it keeps the best of what it has learned.")


def _queue_again(session: Session, run: Run, message: str) -> None:
    check_move(run.status, RunStatus.QUEUED)
    run.status = RunStatus.QUEUED
    run.phase, run.phase_message, run.failure = "waiting", "", None
    run.attempts, run.finished_at, run.pause_requested_at = 0, None, None
    event = {"status": RunStatus.QUEUED, "message": message}
    repository.add_event(session, run, "status", event)
    line_up(session, run)


def _note(session: Session, run: Run, message: str) -> None:
    repository.add_event(session, run, "log", {"level": "info", "message": message})
