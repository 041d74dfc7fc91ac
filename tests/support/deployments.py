"""Tailor without its pages: a data folder, a database, a broker, and workers that come and go."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine

from app import jobs
from app.database.engine import build_engine
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support import databases
from tests.support.workers import CeleryWorker, own_redis_database

EMBEDDED: Final = "embedded"
SERVICES: Final = "services"
LEASE_SECONDS: Final = 4


@dataclass
class Deployment:
    """One Tailor. Its workers are real Celery processes, each with a log of its own.

    Attributes:
        folder: where their logs lie.
        environment: their TAILOR_… settings.
        worker_module: what they run.
    """

    folder: Path
    environment: dict[str, str]
    engine: Engine
    storage: Storage
    worker_module: str
    _workers: list[CeleryWorker] = field(default_factory=list)

    def worker(self, **environment: str) -> CeleryWorker:
        """Start one more, which may be told what the others are not."""
        log = self.folder / f"worker-{len(self._workers)}.log"
        worker = CeleryWorker({**self.environment, **environment}, log, self.worker_module)
        self._workers.append(worker)
        return worker.start()

    @property
    def first_worker(self) -> CeleryWorker:
        return self._workers[0]

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    @contextmanager
    def restored(self, folder: Path) -> Iterator["Deployment"]:
        """Copy database and data folder, as a backup does while nothing runs, and yield the copy.

        The queue is not copied: messages are hints, and nothing may depend on them.
        """
        self.engine.dispose()
        folder.mkdir()
        original = self.environment["TAILOR_DATABASE_URL"]
        is_sqlite = original.startswith("sqlite")
        if is_sqlite:
            # The log that is not yet folded into the file is a part of the database.
            for path in self.folder.glob("tailor.sqlite*"):
                shutil.copy(path, folder)
            url = databases.sqlite_url(folder)
        else:
            url = databases.create_postgres_database(original.rsplit("/", 1)[1])
        no_queue = shutil.ignore_patterns("queue")
        shutil.copytree(self.environment["TAILOR_DATA_DIR"], folder / "data", ignore=no_queue)
        places = {"TAILOR_DATA_DIR": str(folder / "data"), "TAILOR_DATABASE_URL": url}
        copy = Deployment(
            folder,
            {**self.environment, **places},
            databases.migrated_engine(url),
            Storage(folder / "data"),
            self.worker_module,
        )
        try:
            yield copy
        finally:
            copy.stop()
            copy.engine.dispose()
            if not is_sqlite:
                databases.drop_postgres_database(url)

    def logs(self) -> str:
        return "\n".join(worker.log() for worker in self._workers)


@contextmanager
def deployed(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, worker_module: str
) -> Iterator[Deployment]:
    """SQLite with the queue in a folder, or PostgreSQL with Redis, until the end of the block.

    This process speaks to the same database and broker. Leases are shorter than in real life, so
    that a test need not wait half a minute for each lost worker.
    """
    is_embedded = kind == EMBEDDED
    # Tests that run side by side must not empty each other's queue.
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    with own_redis_database(11 + process % 5) as redis_url:
        kind_of_database = "sqlite" if is_embedded else "postgresql"
        database_url = databases.create_migrated(kind_of_database, folder)
        environment = {
            "TAILOR_DATA_DIR": str(folder / "data"),
            "TAILOR_DATABASE_URL": database_url,
            "TAILOR_TEST_LEASE_SECONDS": str(LEASE_SECONDS),
            **({} if is_embedded else {"TAILOR_BROKER_URL": redis_url}),
        }
        for name in ("TAILOR_BROKER_URL", "TAILOR_DATA_DIR", "TAILOR_DATABASE_URL"):
            monkeypatch.delenv(name, raising=False)
            if name in environment:
                monkeypatch.setenv(name, environment[name])
        _forget_settings()
        engine = build_engine(get_settings().resolved_database_url)
        storage = Storage(folder / "data")
        storage.prepare()
        deployment = Deployment(folder, environment, engine, storage, worker_module)
        try:
            yield deployment
        finally:
            deployment.stop()
            engine.dispose()
            _forget_settings()
            databases.give_back(kind_of_database, database_url)


def _forget_settings() -> None:
    get_settings.cache_clear()
    jobs.celery_app.cache_clear()
