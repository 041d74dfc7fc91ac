"""A machine with several cards trains several runs at once, each on cards of its own."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.database.session import transaction
from app.runs import steering
from app.runs.queue.tables import DeviceUse
from app.runs.recipe import RecipeChoices
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.settings import get_settings
from app.storage.folders import Storage
from app.workers.device import DeviceFacts
from tests.support.devices import GIGABYTE, cards
from tests.support.runs import attempts, get_run, queue_run
from tests.support.waiting import wait_until
from worker import run_queue
from worker.device_lock import DeviceLock, LockHolder, take_device
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
    slow = {"steps": 500, "step_seconds": 0.05}
    runs = [queue_run(engine, storage, project_id, slow) for _ in range(3)]
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
    for run_id in runs:
        _finish(engine, run_id)
    for process in processes:
        process.join(60)
    assert sorted(seen.values()) == ["GPU-0", "GPU-1"]
    for run_id in runs:
        run = get_run(engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, run.failure
        assert run.device is not None
        assert run.device["id"] == seen.get(run_id, run.device["id"])


@pytest.fixture
def three_cards(monkeypatch: pytest.MonkeyPatch) -> DeviceFacts:
    monkeypatch.setattr(run_queue, "describe", lambda _: cards(3))
    return cards(3)


def test_a_run_takes_as_many_as_it_may_and_as_are_free(
    engine: Engine, storage: Storage, project_id: str, three_cards: DeviceFacts
) -> None:
    script = {"steps": 500, "step_seconds": 0.05}
    runs, workers = [], []
    for _ in range(2):
        runs.append(queue_run(engine, storage, project_id, script, RecipeChoices(devices=2)))
        workers.append(_worker(engine, storage))
        wait_until(lambda: attempts(storage, runs[-1]), timeout=30, what="a training process")
    first, second = (get_run(engine, run_id) for run_id in runs)
    assert _devices_of(first) == ["GPU-0", "GPU-1"]
    # It does not wait for the others, and nobody waits while holding one.
    assert _devices_of(second) == ["GPU-2"]
    assert _told(attempts(storage, runs[0])[0][1]) == ["--further-device=GPU-1"]
    assert _told(attempts(storage, runs[1])[0][1]) == []
    holders = [take_device(storage, device) for device in three_cards.each()]
    assert [holder.run_id for holder in holders if isinstance(holder, LockHolder)] == [
        *(runs[0], runs[0], runs[1])
    ]
    for run_id in runs:
        _finish(engine, run_id)
    for worker in workers:
        worker.join(60)
    assert [get_run(engine, run_id).status for run_id in runs] == [RunStatus.SUCCEEDED] * 2
    for device in three_cards.each():
        lock = take_device(storage, device)
        assert isinstance(lock, DeviceLock)
        lock.let_go()


def test_a_card_on_which_a_run_does_not_fit_is_left_to_others(
    engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = cards(1, 8 * GIGABYTE).devices + cards(1, 80 * GIGABYTE).devices
    unlike = (small, large.model_copy(update={"id": "GPU-1"}))
    machine = cards(1, 8 * GIGABYTE).model_copy(update={"devices": unlike})
    monkeypatch.setattr(run_queue, "describe", lambda _: machine)
    run_id = queue_run(engine, storage, project_id, {"steps": 3}, RecipeChoices(devices=2))
    with transaction(engine) as session:
        session.get_one(Run, run_id).needs_memory_bytes = 12 * GIGABYTE
    # The small card comes first and has nothing to do, which keeps nobody from the large one.
    _worker(engine, storage).join(60)
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert _devices_of(run) == ["GPU-1"]


def test_a_run_that_must_have_several_waits_for_them_and_is_not_overtaken(
    engine: Engine, storage: Storage, project_id: str, three_cards: DeviceFacts
) -> None:
    del three_cards
    slow = {"steps": 500, "step_seconds": 0.05}
    begun = queue_run(engine, storage, project_id, slow)
    first = _worker(engine, storage)
    wait_until(lambda: attempts(storage, begun), timeout=30, what="a training process")
    divided = queue_run(engine, storage, project_id, {"steps": 3}, RecipeChoices(devices=3))
    later = queue_run(engine, storage, project_id, {"steps": 3})
    with transaction(engine) as session:
        run = session.get_one(Run, divided)
        run.recipe = {**run.recipe, "divides_model": True}
        run.needs_devices = 3
    # Two cards are free, and the third is not: this worker finds nothing that it may begin.
    _worker(engine, storage).join(60)
    assert [get_run(engine, run_id).status for run_id in (divided, later)] == ["queued"] * 2
    _finish(engine, begun)
    first.join(60)
    runs = [get_run(engine, run_id) for run_id in (begun, divided, later)]
    assert [run.status for run in runs] == [RunStatus.SUCCEEDED] * 3
    assert len(_devices_of(runs[1])) == 3
    assert runs[1].finished_at is not None
    assert runs[2].started_at is not None
    assert runs[2].started_at >= runs[1].finished_at


def test_every_device_counts_for_the_hours_of_whoever_asked(
    engine: Engine, storage: Storage, project_id: str, three_cards: DeviceFacts
) -> None:
    del three_cards
    run_id = queue_run(engine, storage, project_id, {"steps": 3}, RecipeChoices(devices=3))
    _worker(engine, storage).join(60)
    assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
    with transaction(engine, read_only=True) as session:
        uses = session.scalars(select(DeviceUse).where(DeviceUse.run_id == run_id)).all()
    assert len(uses) == 3
    assert all(use.ended_at is not None for use in uses)


def _finish(engine: Engine, run_id: str) -> None:
    wait_until(lambda: get_run(engine, run_id).step, timeout=30, what="the first step")
    with transaction(engine) as session:
        steering.finish_run(session, get_run(engine, run_id))


def _worker(engine: Engine, storage: Storage) -> threading.Thread:
    worker = threading.Thread(
        target=execute_waiting_runs,
        args=(engine, storage, get_settings(), lambda: False, "tests.support.scripted_child"),
    )
    worker.start()
    return worker


def _devices_of(run: Run) -> list[str]:
    assert run.device is not None
    return [run.device["id"], *(device["id"] for device in run.device.get("further", ()))]


def _told(pid: int) -> list[str]:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return [argument for argument in command if argument.startswith("--further-device")]


def _card_of(pid: int) -> str:
    told = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next(line for line in told if line.startswith("CUDA_VISIBLE_DEVICES=")).partition("=")[2]
