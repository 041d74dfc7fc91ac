"""Wait for a database that is away for a moment, so that nobody's work is lost by it."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import DATABASE_AWAY, transaction

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 120.0
"""For so long work goes on while the database does not answer."""
_PAUSE_SECONDS: Final = 1.0

T = TypeVar("T")


def patiently(act: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Do something with the database, again and again while it is away.

    `act` may run twice although the first time succeeded, if the connection broke during the
    commit; it has to bear that.

    Raises:
        DATABASE_AWAY: if the database stayed away for so many seconds.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        try:
            return act()
        except DATABASE_AWAY as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("The database does not answer, trying again: %s", error)
            pause.wait(_PAUSE_SECONDS)


def patient_transaction(
    engine: Engine, act: Callable[[Session], T], seconds: float = PATIENCE_SECONDS
) -> T:
    """Do something in one transaction, patiently."""

    def attempt() -> T:
        with transaction(engine) as session:
            return act(session)

    return patiently(attempt, seconds)
