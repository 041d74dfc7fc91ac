"""Bring a database to the tables of this version."""

from enum import Enum, auto

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from app.settings import REPOSITORY_ROOT


class DatabaseState(Enum):
    EMPTY = auto()
    OLDER = auto()
    CURRENT = auto()
    NEWER = auto()


def _config() -> Config:
    return Config(REPOSITORY_ROOT / "alembic.ini")


def migrate(engine: Engine) -> None:
    """Apply every migration that is missing, in one transaction."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def state_of(engine: Engine) -> DatabaseState:
    """Compare the database's tables with those of this version."""
    scripts = ScriptDirectory.from_config(_config())
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    if present is None:
        return DatabaseState.EMPTY
    if present == scripts.get_current_head():
        return DatabaseState.CURRENT
    known = {script.revision for script in scripts.walk_revisions()}
    return DatabaseState.OLDER if present in known else DatabaseState.NEWER
