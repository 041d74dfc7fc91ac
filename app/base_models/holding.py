"""Hold a base model's row while a worker fetches or checks it."""

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.base_models import repository
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.patience import PATIENCE_SECONDS, patient_transaction
from app.database.session import DATABASE_AWAY, transaction
from app.errors import DomainError
from app.jobs import send_after_commit
from app.leases.repository import LostLeaseError, claim, extend, release, write_under_fence
from app.leases.tables import MAX_ATTEMPTS

logger = logging.getLogger(__name__)

_BEAT_SECONDS: Final = 1.0


class CancelledByPersonError(Exception):
    """Someone pressed “Stop”."""


@dataclass(frozen=True)
class Outcome:
    """How the work ended: the row's last values, and the job that comes next, if one does."""

    values: dict[str, Any]
    next_job: str | None = None


class HeldModel:
    """A claimed base model: heartbeats, progress, and a last word, all under the fence.

    The heart beats in a thread of its own, so that the row stays held whatever the work waits
    for: a silent server, a slow disk, or the database itself.
    """

    def __init__(self, engine: Engine, base_model_id: str, fence: int) -> None:
        self.id = base_model_id
        self._engine = engine
        self._fence = fence
        self._noted: dict[str, Any] = {}
        self._interruption: Exception | None = None
        # Set when the heart should stop, or has stopped by itself.
        self._still = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        heart = threading.Thread(target=self._beat_until_still, name=f"held-{self.id}", daemon=True)
        heart.start()
        try:
            yield
        finally:
            # A beat after the last word would take the row again.
            self._still.set()
            heart.join()

    def look_up(self) -> None:
        """Cheap; to be called often.

        Raises:
            LostLeaseError: if someone else owns the row.
            CancelledByPersonError: if it was asked to stop.
        """
        if self._interruption is not None:
            raise self._interruption

    def note(self, **values: object) -> None:
        """Leave progress to be written with the next beat; raises what `look_up` raises."""
        self._noted = {**self._noted, **values}
        self.look_up()

    def rest(self, seconds: float) -> None:
        """Wait, unless something comes in between; raises what `look_up` raises."""
        self._still.wait(seconds)
        self.look_up()

    def write(self, **values: object) -> None:
        """Change the row now; keeps trying while the database is away."""

        def act(session: Session) -> None:
            write_under_fence(session, BaseModel, self.id, self._fence, **values)

        patient_transaction(self._engine, act)

    def finish(self, outcome: Outcome) -> None:
        """Give the row back with last values; keeps trying while the database is away."""

        def act(session: Session) -> None:
            release(session, BaseModel, self.id, self._fence, attempts=0, **outcome.values)
            if outcome.next_job is not None:
                send_after_commit(session, outcome.next_job, self.id)

        patient_transaction(self._engine, act)

    def _beat_until_still(self) -> None:
        answered = time.monotonic()
        while not self._still.wait(_BEAT_SECONDS):
            try:
                self._beat()
                answered = time.monotonic()
            except DATABASE_AWAY as error:
                # Nobody else can claim the row meanwhile either.
                if time.monotonic() - answered > PATIENCE_SECONDS:
                    self._interrupt(error)
            except Exception as error:  # noqa: BLE001 (the thread's boundary: the work is told)
                self._interrupt(error)

    def _interrupt(self, error: Exception) -> None:
        self._interruption = error
        self._still.set()

    def _beat(self) -> None:
        values = self._noted
        with transaction(self._engine) as session:
            extend(session, BaseModel, self.id, self._fence)
            if values:
                write_under_fence(session, BaseModel, self.id, self._fence, **values)
            cancelled = repository.is_cancel_requested(session, self.id)
        if cancelled:
            raise CancelledByPersonError


def claim_model(
    engine: Engine,
    base_model_id: str,
    owner: str,
    waiting: BaseModelStatus,
    working: BaseModelStatus,
) -> HeldModel | None:
    """Claim a row that waits, or was left by a worker that died; None if there is nothing to do."""
    with transaction(engine) as session:
        fence = claim(
            session,
            BaseModel,
            base_model_id,
            owner=owner,
            claimable=[waiting, working],
            values={"status": working, "problem": None},
        )
        if fence is None:
            return None
        model = repository.get(session, base_model_id)
        if model is not None and model.attempts > MAX_ATTEMPTS:
            release(
                session,
                BaseModel,
                base_model_id,
                fence,
                status=BaseModelStatus.FAILED,
                attempts=0,
                problem=_gave_up(working),
            )
            return None
    return HeldModel(engine, base_model_id, fence)


def work_on(held: HeldModel, work: Callable[[HeldModel], Outcome]) -> None:
    """Do the work and write down how it ended, however it ended. The boundary of a task."""
    try:
        with held.beating():
            outcome = _outcome(held, work)
        held.finish(outcome)
    except LostLeaseError:
        logger.warning("Someone else works on base model %s now.", held.id)
    except DATABASE_AWAY:
        # The lease runs out, and the sweeper hands the work on.
        logger.exception("The database does not answer; base model %s is left as it is.", held.id)


def _outcome(held: HeldModel, work: Callable[[HeldModel], Outcome]) -> Outcome:
    try:
        return work(held)
    except (LostLeaseError, *DATABASE_AWAY):
        raise
    except CancelledByPersonError:
        return Outcome({"status": BaseModelStatus.CANCELLED, "cancel_requested_at": None})
    except DomainError as error:
        details = str(getattr(error, "details", ""))
        return _failure(error.what, error.why, error.next_step, details)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return _failure(
                "The disk of this machine is full.",
                "There was not enough room for the model's files.",
                "Make room, then continue; what is here already is kept.",
            )
        logger.exception("Base model %s could not be read or written.", held.id)
        return _failure(
            "The model's files could not be read or written.",
            "This machine's disk or the rights on the folder do not allow it.",
            "Ask the person who runs Tailor to look at the folder, then try again.",
            f"{type(error).__name__}: {error}",
        )
    except Exception as error:
        logger.exception("Base model %s met something unforeseen.", held.id)
        return _failure(
            "Something went wrong inside Tailor.",
            "It was not your doing; what is here already is kept.",
            "Try again. If it happens again, tell the person who runs Tailor.",
            f"{type(error).__name__}: {error}",
        )


def _failure(what: str, why: str, next_step: str, details: str = "") -> Outcome:
    problem = {"what": what, "why": why, "next_step": next_step, "details": details[-4000:]}
    return Outcome({"status": BaseModelStatus.FAILED, "problem": problem})


def _gave_up(working: BaseModelStatus) -> dict[str, str]:
    if working == BaseModelStatus.CHECKING:
        return {
            "what": "The check was tried three times, and the worker ended each time.",
            "why": "The machine may have too little memory for this model.",
            "next_step": "Choose a smaller model, or ask the person who runs Tailor.",
            "details": "",
        }
    return {
        "what": "The download was begun three times, and the worker ended each time.",
        "why": "Something outside of the download stops Tailor's worker.",
        "next_step": "Ask the person who runs Tailor, then continue; what is here is kept.",
        "details": "",
    }
