"""Runs the migrations on the database that the settings name, or on one handed in."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection, text

from app.database.base import UtcDateTime
from app.database.engine import build_engine
from app.settings import get_settings
from migrations.all_tables import METADATA

# One number for the lock that lets a single process migrate at a time on PostgreSQL.
_MIGRATION_LOCK = 8_245_300_174


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 (alembic's own type)
    """Write our column types as SQLAlchemy's own, so that old migrations outlive our classes."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET lock_timeout = '30s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    engine = build_engine(get_settings().resolved_database_url)
    with engine.begin() as own_connection:
        run(own_connection)
    engine.dispose()
