"""What tests of runs start from. Hints go to a queue folder of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app import jobs
from app.database.session import transaction
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support.runs import project_with_examples


@pytest.fixture
def hints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which this test's hints lie."""
    monkeypatch.setenv("TAILOR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("TAILOR_BROKER_URL", raising=False)
    get_settings.cache_clear()
    jobs.celery_app.cache_clear()
    yield tmp_path / "data" / "queue" / "waiting"
    get_settings.cache_clear()
    jobs.celery_app.cache_clear()


@pytest.fixture
def project_id(engine: Engine, storage: Storage, hints: Path) -> str:  # noqa: ARG001
    with transaction(engine) as session:
        return project_with_examples(session, storage).id
