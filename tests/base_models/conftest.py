"""A hub on loopback, and everything that fetches and checks models from it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app import jobs
from app.accounts.tables import User
from app.base_models import service
from app.base_models.checking import check_base_model
from app.base_models.fetching import fetch_base_model
from app.base_models.tables import BaseModel
from app.database import engine as database_engine
from app.database.session import transaction
from app.settings import Settings, get_settings
from app.storage.folders import Storage
from tests.support import databases
from tests.support.hub_server import HubServer, hub_server
from tests.support.waiting import wait_until

MODEL = "maker/model"
WEIGHTS = "model.safetensors"


def weights(count: int = 250_000) -> bytes:
    """A whole safetensors file with one tensor of so many float32 zeros, but not only zeros."""
    header = {"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, count * 4]}}
    head = json.dumps(header).encode()
    body = bytes(range(256)) * (count * 4 // 256 + 1)
    return len(head).to_bytes(8, "little") + head + body[: count * 4]


def files_of_a_model(**config: object) -> dict[str, bytes]:
    """What lies in a repository: enough to fetch, not enough to speak."""
    return {
        "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], **config}).encode(),
        "tokenizer.json": b"{}",
        "README.md": b"# not wanted",
        "modeling.py": b"raise SystemExit('never run')",
        WEIGHTS: weights(),
    }


@dataclass
class Workshop:
    """One database, one data folder, one hub."""

    engine: Engine
    storage: Storage
    hub: HubServer
    settings: Settings

    def ask(self, hub_id: str = MODEL, revision: str = "") -> str:
        with transaction(self.engine) as session:
            user_id = session.query(User.id).scalar()
            return service.download_from_hub(session, self.settings, hub_id, revision, user_id).id

    def fetch(self, base_model_id: str, owner: str = "worker") -> BaseModel:
        fetch_base_model(self.engine, self.storage, base_model_id, owner, self.settings)
        return self.row(base_model_id)

    def start_fetch(self, base_model_id: str) -> threading.Thread:
        thread = threading.Thread(target=self.fetch, args=[base_model_id])
        thread.start()
        return thread

    def check(self, base_model_id: str) -> BaseModel:
        check_base_model(self.engine, self.storage, base_model_id, "worker")
        return self.row(base_model_id)

    def row(self, base_model_id: str) -> BaseModel:
        with transaction(self.engine, read_only=True) as session:
            return service.find(session, base_model_id)

    def change(self, base_model_id: str, act: Callable[..., Any], *before: object) -> None:
        """Call a function of the service: act(session, *before, model)."""
        with transaction(self.engine) as session:
            act(session, *before, service.find(session, base_model_id))

    def folder(self, base_model_id: str) -> Path:
        return self.storage.path("models", base_model_id, "files")

    def wait_for_bytes(self, base_model_id: str, count: int = 1) -> None:
        wait_until(
            lambda: self.row(base_model_id).downloaded_bytes >= count,
            timeout=20,
            what=f"{count} bytes on the row",
        )


@pytest.fixture
def workshop(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    with hub_server() as hub:
        monkeypatch.setenv("TAILOR_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("TAILOR_DATABASE_URL", database_url)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        caches = (
            get_settings.cache_clear,
            database_engine.get_engine.cache_clear,
            jobs.celery_app.cache_clear,
        )
        for forget in caches:
            forget()
        engine = databases.open_engine(database_url)
        with transaction(engine) as session:
            session.add(User(email="a@example.org", name="A", password_hash="-", is_admin=True))
        settings = get_settings()
        storage = Storage(settings.storage_root)
        storage.prepare()
        yield Workshop(engine, storage, hub, settings)
        engine.dispose()
        for forget in caches:
            forget()
