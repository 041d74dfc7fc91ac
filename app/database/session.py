"""Sessions. The edge (a request, a task, a command) opens one, commits it, and closes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.database.engine import get_engine

DATABASE_AWAY: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""What is raised while the database does not answer, or has no connection left to give."""


def new_session(engine: Engine | None = None, *, read_only: bool = False) -> Session:
    """Return a session that nothing commits but its edge.

    Args:
        engine: the engine, or None for the one of this process.
        read_only: take no write lock; a write in such a session is a mistake.
    """
    bind = engine if engine is not None else get_engine()
    if read_only:
        bind = bind.execution_options(tailor_read_only=True)
    return Session(bind, expire_on_commit=False)


@contextmanager
def transaction(engine: Engine | None = None, *, read_only: bool = False) -> Iterator[Session]:
    """One transaction: committed when the block ends, rolled back when it raises."""
    with new_session(engine, read_only=read_only) as session, session.begin():
        yield session
