"""Fixtures that every test may use. Nothing here is a fake."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import new_session
from app.storage.folders import Storage
from tests.support import databases, services
from tests.support.scheduling import SharingScheduler
from tests.support.web import Web, running_web

_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the services once, before the test processes start."""
    if hasattr(config, "workerinput"):
        return
    # All test processes must collect the same tests, so the day is asked for once.
    os.environ.setdefault("TAILOR_TEST_KILL_SEED", str(dt.datetime.now(dt.UTC).date()))
    left_out = services.prepare()
    if not os.environ.get("TAILOR_TEST_CHROMIUM") and Path("/usr/bin/chromium").exists():
        os.environ["TAILOR_TEST_CHROMIUM"] = "/usr/bin/chromium"
    if not os.environ.get("TAILOR_TEST_CHROMIUM"):
        left_out.append("Chromium is not here: the browser tests are left out.")
    if left_out and os.environ.get("CI"):
        raise pytest.UsageError("In CI nothing may be left out. " + " ".join(left_out))
    config.stash[_LEFT_OUT] = left_out


def pytest_report_header() -> str:
    return f"random kills: TAILOR_TEST_KILL_SEED={os.environ['TAILOR_TEST_KILL_SEED']}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 (untyped)
    return SharingScheduler(config, log)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for sentence in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(f"LEFT OUT: {sentence}", yellow=True, bold=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a service that is missing; the summary says so.

    Where the database plays no part in what is tested, SQLite stands for both.
    """
    items[:] = [
        item
        for item in items
        if not (item.get_closest_marker("one_database") and "[postgresql" in item.name)
    ]
    missing = []
    if not os.environ.get("TAILOR_TEST_CHROMIUM"):
        missing.append("browser")
    for name in missing:
        items[:] = [item for item in items if item.get_closest_marker(name) is None]


@pytest.fixture(params=databases.KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a freshly migrated database, once on SQLite and once on PostgreSQL."""
    kind = request.param
    if kind == "postgresql" and not databases.postgres_url():
        pytest.skip("LEFT OUT: PostgreSQL is not on this machine")
    url = databases.create_migrated(kind, tmp_path)
    yield url
    databases.give_back(kind, url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a freshly migrated database of each kind."""
    engine = databases.open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on a freshly migrated database of each kind; the test commits if it wants to."""
    with new_session(engine) as session:
        yield session


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "storage")
    storage.prepare()
    return storage


@pytest.fixture
def web(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The whole application with its cast (see tests/support/web.py), on each database."""
    with running_web(database_url, tmp_path / "data", monkeypatch) as web:
        yield web
