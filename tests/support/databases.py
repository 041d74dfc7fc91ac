"""Real databases for tests: SQLite in a temporary folder, PostgreSQL in a database of our own."""

import atexit
import os
import shutil
import tempfile
from functools import cache
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


def create_postgres_database(template: str = "template1") -> str:
    """Create a database, empty or as a copy of another, and return its URL."""
    name = f"tailor_test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return postgres_url().rsplit("/", 1)[0] + "/" + name


def create_migrated(kind: str, folder: Path) -> str:
    """Return the URL of a fresh database with all tables, copied from one that was migrated.

    The migrations run once per kind and test process; a copy takes a fraction of their time.
    """
    if kind == "postgresql":
        return create_postgres_database(_migrated_postgres_database())
    shutil.copy(_migrated_sqlite_file(), folder / "tailor.sqlite")
    return sqlite_url(folder)


@cache
def _migrated_postgres_database() -> str:
    url = create_postgres_database()
    migrated_engine(url).dispose()
    atexit.register(drop_postgres_database, url)
    return url.rsplit("/", 1)[1]


@cache
def _migrated_sqlite_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tailor-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Closing the last connection folds the write-ahead log into the file.
    migrated_engine(sqlite_url(folder)).dispose()
    return folder / "tailor.sqlite"


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
