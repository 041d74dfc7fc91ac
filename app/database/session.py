"""Sessions. The edge (a request, a task, a command) opens one, commits it, and closes it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, SessionTransaction

from app.database.engine import get_engine

DATABASE_AWAY: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""What is raised while the database does not answer, or has no connection left to give."""

_ACTIONS: Final = "tailor_after_commit"
_Ends = tuple[Callable[[], object], Callable[[], object]]


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


def after_commit(
    session: Session,
    action: Callable[[], object],
    *,
    otherwise: Callable[[], object] = lambda: None,
) -> None:
    """Do something once what was written is there for all to see; never, if it rolls back.

    What touches more than the database belongs here: files, messages, threads. The transaction as
    a whole counts; the end of a savepoint within it changes nothing.

    Args:
        session: whose transaction it is about.
        action: what is done.
        otherwise: what is done instead if the transaction comes to nothing.
    """
    actions: list[_Ends] | None = session.info.get(_ACTIONS)
    if actions is None:
        actions = session.info[_ACTIONS] = []
        event.listen(session, "after_commit", _do_actions)
        event.listen(session, "after_transaction_end", _drop_actions)
    actions.append((action, otherwise))


def _do_actions(session: Session) -> None:
    if session.in_nested_transaction():
        return
    actions = list(session.info[_ACTIONS])
    session.info[_ACTIONS].clear()
    for action, _ in actions:
        action()


def _drop_actions(session: Session, ended: SessionTransaction) -> None:
    # A commit has done them by now, so what is left belongs to a transaction that came to nothing.
    if ended.parent is not None:
        return
    actions = list(session.info[_ACTIONS])
    session.info[_ACTIONS].clear()
    for _, otherwise in actions:
        otherwise()
