"""Two Tailors for all journeys, each started once: embedded defaults, and PostgreSQL with Redis."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support import databases
from tests.support.browser import chromium
from tests.support.house import House
from tests.support.running_tailor import running_tailor
from tests.support.services import REDIS_VARIABLE

REDIS_DATABASE = 14


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def embedded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A Tailor with nothing set but its folder and ports."""
    yield from _open(browser, tmp_path_factory.mktemp("embedded") / "data", {})


@pytest.fixture(scope="session")
def servers(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A Tailor on a PostgreSQL database of its own and on Redis."""
    redis_url = os.environ.get(REDIS_VARIABLE, "")
    if not databases.postgres_url() or not redis_url:
        pytest.skip("LEFT OUT: PostgreSQL or Redis is not on this machine")
    database_url = databases.create_postgres_database()
    environment = {
        "TAILOR_DATABASE_URL": database_url,
        "TAILOR_BROKER_URL": f"{redis_url.rsplit('/', 1)[0]}/{REDIS_DATABASE}",
    }
    try:
        yield from _open(browser, tmp_path_factory.mktemp("servers") / "data", environment)
    finally:
        databases.drop_postgres_database(database_url)


def _open(browser: Browser, data_dir: Path, environment: dict[str, str]) -> Iterator[House]:
    with running_tailor(data_dir, environment) as tailor:
        house = House(tailor, browser)
        house.set_up()
        yield house


@pytest.fixture(
    scope="session", params=["embedded", pytest.param("servers", marks=pytest.mark.slow)]
)
def house(request: pytest.FixtureRequest) -> House:
    """Each Tailor in turn."""
    found: House = request.getfixturevalue(request.param)
    return found
