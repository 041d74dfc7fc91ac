"""Runs whose worker fell silent: put back into the queue, or ended after three tries."""

import logging
import time
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.leases.repository import expired
from app.leases.tables import MAX_ATTEMPTS
from app.runs import holding, repository
from app.runs.status import ACTIVE, RunStatus
from app.runs.tables import Run

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 1.0


def free_lost_runs(engine: Engine) -> list[str]:
    """Put runs whose worker fell silent back into the queue, or end them after three tries.

    Who waits for the database to write is not the only one: those who hold runs waited too, and
    could not say that they live. So after a wait nothing is taken from anyone, until they had
    time to speak.

    Returns:
        The ids of the runs that changed.
    """
    with transaction(engine, read_only=True) as session:
        lost = expired(session, Run, ACTIVE)
    freed: list[str] = []
    for run_id in lost:
        asked = time.monotonic()
        with transaction(engine) as session:
            session.connection()
            if time.monotonic() - asked > _PATIENCE_SECONDS:
                logger.info("The database was busy; lost runs are looked for in the next round.")
                return freed
            if _free(session, run_id):
                freed.append(run_id)
    return freed


def _free(session: Session, run_id: str) -> bool:
    run = repository.lock_expired(session, run_id)
    if run is None:
        return False
    if run.attempts < MAX_ATTEMPTS:
        message = f"The worker stopped answering. {holding.GOES_ON}"
        holding.give_back(session, run, message)
        return True
    reason = (
        f"The worker that trained stopped answering {MAX_ATTEMPTS} times in a row before anything "
        "more was learned."
    )
    failure = {
        "code": "worker_lost",
        "reason": reason,
        "next_step": "Most often the machine's memory was too small: choose a smaller base model, "
        "or ask the person who runs Tailor to look at the machine, then start again.",
        "details": f"The last holder was {run.lease_owner}.",
        "permanent": False,
    }
    saved = holding.what_is_saved(session, run)
    holding.end_locked(session, run, RunStatus.FAILED, reason, failure=failure, **saved)
    return True
