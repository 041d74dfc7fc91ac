"""A Tailor whose pages talk to a really running chat server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chat import ChatWeb, add_version_row
from tests.support.inference import (
    ANCHOR,
    TEAPOT,
    TOKEN,
    Home,
    InferenceServer,
    furnish,
    running_inference,
)
from tests.support.web import running_web


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def server(home: Home) -> Iterator[InferenceServer]:
    with running_inference(home.storage) as server:
        yield server


@pytest.fixture
def chat(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: InferenceServer,
) -> Iterator[ChatWeb]:
    settings = {"inference_url": server.url, "inference_token": TOKEN}
    with running_web(database_url, tmp_path / "data", monkeypatch, **settings) as web:
        project = web.project()
        digests = {
            run_id: server.ask("Hello.", model=run_id, max_tokens=1)["tailor"]["adapter_digest"]
            for run_id in (ANCHOR, TEAPOT)
        }
        with web.transaction() as session:
            for number, run_id in enumerate((ANCHOR, TEAPOT), start=2):
                add_version_row(session, project, run_id, number, digests[run_id])
        yield ChatWeb(web, server, project)
