"""Does the database hold the tables of this version? Asked before a start, and by the doctor."""

from typing import Final

from sqlalchemy import Engine

from app.database.migrate import DatabaseState, state_of
from app.database.session import DATABASE_AWAY
from app.launcher.failures import StartError

WRONG_TABLES: Final = {
    DatabaseState.EMPTY: "The database has no tables yet. Run: tailor migrate",
    DatabaseState.OLDER: "The database has the tables of an older Tailor. Stop Tailor everywhere, "
    "then run: tailor migrate",
    DatabaseState.NEWER: "The database was brought up to date by a newer Tailor, whose tables this "
    "one does not know. Start that version, or one that is newer still.",
}


def require_own_tables(engine: Engine) -> None:
    """Raise StartError unless the tables are those of this version.

    A database that does not answer is no reason to refuse: the pages say so until it is back.
    """
    try:
        state = state_of(engine)
    except DATABASE_AWAY:
        return
    if state is not DatabaseState.CURRENT:
        raise StartError(WRONG_TABLES[state])


def require_known_tables(engine: Engine) -> None:
    """Raise StartError if a newer Tailor has been here, before anything is changed."""
    if state_of(engine) is DatabaseState.NEWER:
        raise StartError(WRONG_TABLES[DatabaseState.NEWER])
