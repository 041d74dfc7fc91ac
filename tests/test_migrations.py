"""The migrations lead from nothing to exactly the tables that the code means."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from app.database.migrate import DatabaseState, migrate, state_of
from migrations.all_tables import METADATA


def test_migrations_match_the_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    assert state_of(engine) is DatabaseState.CURRENT
    migrate(engine)
    assert state_of(engine) is DatabaseState.CURRENT
