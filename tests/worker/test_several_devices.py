"""A machine with several cards trains as many runs at once, each on a card of its own."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.runs.status import RunStatus
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support.devices import cards
from tests.support.runs import attempts, get_run, queue_run
from tests.support.waiting import wait_until
from worker import run_queue
from worker.device_lock import DeviceLock, take_device
from worker.run_queue import execute_waiting_runs


def test_each_device_has_a_lock_of_its_own(storage: Storage) -> None:
    first, second = cards(2).each()
    held = take_device(storage, first)
    assert isinstance(held, DeviceLock)
    assert take_device(storage, first) is None
    other = take_device(storage, second)
    assert isinstance(other, DeviceLock)
    assert (held.device, other.device) == (first, second)
    held.let_go()
    again = take_device(storage, first)
    assert isinstance(again, DeviceLock)
    for lock in (other, again):
        lock.let_go()


def test_runs_share_the_cards_and_none_has_two(
    engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_queue, "describe", lambda _: cards(2))
    runs = [
        queue_run(engine, storage, project_id, {"steps": 40, "step_seconds": 0.1}) for _ in range(3)
    ]
    processes = [
        threading.Thread(
            target=execute_waiting_runs,
            args=(engine, storage, get_settings(), lambda: False, "tests.support.scripted_child"),
        )
        # One more than there are cards: it finds none free and leaves.
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    wait_until(
        lambda: all(attempts(storage, run_id) for run_id in runs[:2]),
        timeout=30,
        what="two training processes",
    )
    seen = {run_id: _card_of(attempts(storage, run_id)[0][1]) for run_id in runs[:2]}
    assert not attempts(storage, runs[2])
    for process in processes:
        process.join(60)
    assert sorted(seen.values()) == ["GPU-0", "GPU-1"]
    for run_id in runs:
        run = get_run(engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, run.failure
        assert run.device is not None
        assert run.device["id"] == seen.get(run_id, run.device["id"])


def _card_of(pid: int) -> str:
    told = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next(line for line in told if line.startswith("CUDA_VISIBLE_DEVICES=")).partition("=")[2]
