"""Real databases for tests: SQLite in a temporary folder, PostgreSQL in a database of our own."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from app.database.engine import build_engine
from app.database.migrate import migrate
from tests.support.services import POSTGRES_VARIABLE
from tests.support.spare_databases import SpareDatabases, new_name

KINDS = ("sqlite", "postgresql")


def postgres_url() -> str:
    """The server's URL; empty if there is none (services.prepare looked for it)."""
    return os.environ.get(POSTGRES_VARIABLE, "")


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'tailor.sqlite'}"


def create_postgres_database(template: str = "template1") -> str:
    """Create a database, empty or as a copy of another, and return its URL."""
    name = new_name()
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return postgres_url().rsplit("/", 1)[0] + "/" + name


def create_migrated(kind: str, folder: Path) -> str:
    """Return the URL of a fresh database with all tables, copied from one that was migrated.

    The migrations run once per kind and test process; a copy takes a fraction of their time. Give
    it back with `give_back`.
    """
    if kind == "postgresql":
        return _spare_databases().take()
    shutil.copy(_migrated_sqlite_file(), folder / "tailor.sqlite")
    return sqlite_url(folder)


def give_back(kind: str, url: str) -> None:
    """Let go of what `create_migrated` returned; SQLite's file goes with its folder."""
    if kind == "postgresql" and not _spare_databases().give_back(url):
        drop_postgres_database(url)


@cache
def _spare_databases() -> SpareDatabases:
    url = create_postgres_database()
    migrated_engine(url).dispose()
    atexit.register(drop_postgres_database, url)
    spare = SpareDatabases(postgres_url(), url.rsplit("/", 1)[1])
    atexit.register(spare.drop_all)
    return spare


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


def open_engine(url: str) -> Engine:
    """Return an engine on a database that has its tables."""
    return build_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1)
        if url.startswith("postgresql://")
        else url
    )


def migrated_engine(url: str) -> Engine:
    """Return an engine on a database that real migrations brought up to date."""
    engine = open_engine(url)
    migrate(engine)
    return engine
