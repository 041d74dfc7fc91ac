"""A run on two devices, from a message to a version: the real worker, the real training."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app import jobs
from app.adapters.tables import Adapter
from app.database.session import transaction
from app.runs.recipe import RecipeChoices
from app.runs.status import RunStatus
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support import databases
from tests.support.runs import get_run, project_with_examples, queue_run
from tests.support.waiting import wait_until
from tests.support.workers import CeleryWorker, children_of, command_of
from worker import devices
from worker.device_lock import DeviceLock, LockHolder, take_device
from worker.training.team.members import MEMBER_MODULE

pytestmark = pytest.mark.timeout(400)

_SECONDS = 180


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = databases.migrated_engine(databases.sqlite_url(tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def worker(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CeleryWorker]:
    """A worker on a processor of two parts; this test sees the same two."""
    told = {
        "TAILOR_DATA_DIR": str(storage.root),
        "TAILOR_DATABASE_URL": databases.sqlite_url(tmp_path),
        "TAILOR_PROCESSOR_PARTS": "2",
    }
    monkeypatch.delenv("TAILOR_BROKER_URL", raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    _forget_settings()
    worker = CeleryWorker(told, tmp_path / "worker.log", "worker.celery_app")
    yield worker
    worker.stop()
    _forget_settings()


def _forget_settings() -> None:
    get_settings.cache_clear()
    jobs.celery_app.cache_clear()
    devices._unchanging.cache_clear()  # noqa: SLF001 (they say how many parts there are)


def _wait(worker: CeleryWorker, condition: Callable[[], object], what: str) -> None:
    try:
        wait_until(condition, timeout=_SECONDS, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}; the worker said: {worker.log()}") from error


def test_two_devices_train_one_run_and_are_free_again(
    engine: Engine, storage: Storage, worker: CeleryWorker
) -> None:
    with transaction(engine) as session:
        project_id = project_with_examples(session, storage, 40).id
    choices = RecipeChoices(devices=2, epochs=4, examples_per_update=4, method_settings={"rank": 4})
    run_id = queue_run(engine, storage, project_id, choices=choices)
    both = devices.describe(storage).each()
    assert [one.device.id for one in both] == ["cpu-1", "cpu-2"]
    worker.start()
    _wait(worker, lambda: get_run(engine, run_id).step >= 2, "the second step")
    holders = [take_device(storage, one) for one in both]
    pids = {holder.pid for holder in holders if isinstance(holder, LockHolder)}
    assert len(pids) == 1, holders
    members = [pid for pid in children_of(pids.pop()) if MEMBER_MODULE.encode() in command_of(pid)]
    assert len(members) == 1
    _wait(worker, lambda: get_run(engine, run_id).finished_at, "the run's end")
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert run.attempts == 1
    assert run.device is not None
    assert [one["id"] for one in run.device["further"]] in (["cpu-1"], ["cpu-2"])
    assert run.result is not None
    assert run.result["loss_after"] < run.result["loss_before"]
    with transaction(engine, read_only=True) as session:
        adapter = session.get(Adapter, run_id)
    assert adapter is not None
    assert adapter.sha256 == run.result["adapter_sha256"]
    for one in both:
        lock = take_device(storage, one, wait=True)
        assert isinstance(lock, DeviceLock)
        lock.let_go()
