"""Real databases for tests: SQLite in a temporary folder, PostgreSQL in a database of our own."""

import os
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from app.database.engine import build_engine
from app.database.migrate import migrate
from tests.support.services import POSTGRES_VARIABLE

KINDS = ("sqlite", "postgresql")


def postgres_url() -> str:
    """The server's URL; empty if there is none (services.prepare looked for it)."""
    return os.environ.get(POSTGRES_VARIABLE, "")


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'tailor.sqlite'}"


def create_postgres_database() -> str:
    """Create an empty database and return its URL."""
    name = f"tailor_test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return postgres_url().rsplit("/", 1)[0] + "/" + name


def drop_postgres_database(url: str) -> None:
    name = url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def migrated_engine(url: str) -> Engine:
    """Return an engine on a database that real migrations brought up to date."""
    engine = build_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1)
        if url.startswith("postgresql://")
        else url
    )
    migrate(engine)
    return engine
