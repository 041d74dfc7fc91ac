"""Hold a base model's row while a worker fetches or checks it."""

import errno
import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.base_models import repository
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from app.errors import DomainError
from app.leases.repository import LostLeaseError, claim, extend, release, write_under_fence
from app.leases.tables import HEARTBEAT_SECONDS, MAX_ATTEMPTS

logger = logging.getLogger(__name__)

# For so long the work goes on while the database does not answer.
_PATIENCE_SECONDS = 90


class CancelledByPersonError(Exception):
    """Someone pressed “Stop the download”."""


class HeldModel:
    """A claimed base model: heartbeats, progress, and a last word, all under the fence."""

    def __init__(self, engine: Engine, base_model_id: str, fence: int) -> None:
        self.id = base_model_id
        self._engine = engine
        self._fence = fence
        self._next_beat = 0.0

    def beat(self, **values: object) -> None:
        """Hold the row and write progress, about once a second; cheap to call often.

        Raises:
            LostLeaseError: if someone else owns the row.
            CancelledByPersonError: if it was asked to stop.
        """
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + 1.0
        with transaction(self._engine) as session:
            extend(session, BaseModel, self.id, self._fence)
            if values:
                write_under_fence(session, BaseModel, self.id, self._fence, **values)
            model = repository.get(session, self.id)
            if model is None or model.cancel_requested_at is not None:
                raise CancelledByPersonError

    def finish(self, act: Callable[[Session], None] | None = None, **values: object) -> None:
        """Give the row back with last values; keeps trying while the database is away."""

        def write() -> None:
            with transaction(self._engine) as session:
                release(session, BaseModel, self.id, self._fence, **values)
                if act is not None:
                    act(session)

        patiently(write)


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
                problem={
                    "what": "This was tried three times and the worker died each time.",
                    "why": "The machine may have too little memory for this model.",
                    "next_step": "Choose a smaller model, or ask the person who runs Tailor.",
                },
            )
            return None
    return HeldModel(engine, base_model_id, fence)


def work_on(held: HeldModel, work: Callable[[HeldModel], None]) -> None:
    """Do the work and write down how it failed, if it did. The boundary of a task."""
    try:
        work(held)
    except LostLeaseError:
        logger.warning("Someone else works on base model %s now.", held.id)
    except CancelledByPersonError:
        held.finish(status=BaseModelStatus.CANCELLED, cancel_requested_at=None, attempts=0)
    except DomainError as error:
        problem = {"what": error.what, "why": error.why, "next_step": error.next_step}
        held.finish(status=BaseModelStatus.FAILED, problem=problem, attempts=0)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        held.finish(
            status=BaseModelStatus.FAILED,
            attempts=0,
            problem={
                "what": "The disk of this machine is full.",
                "why": "There was not enough room for the model's files.",
                "next_step": "Make room, then continue; what is here already is kept.",
            },
        )
    except OperationalError:
        # The database stayed away; the lease runs out and the sweeper hands the work on.
        logger.exception("The database does not answer; base model %s is left as it is.", held.id)


def patiently(act: Callable[[], None]) -> None:
    """Do something with the database, again and again while it is away."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = threading.Event()
    while True:
        try:
            act()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            pause.wait(min(2.0, HEARTBEAT_SECONDS))
        else:
            return
