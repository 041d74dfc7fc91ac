"""A training process that waits: told its work it does it, and nothing ever depends on it."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runs.child_events import AnyChildEvent, ResultEvent
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import make_tiny_model
from tests.support.waiting import wait_until
from worker.child import TrainingChild, kill_stale_child, process_start
from worker.spare import SpareKeeper
from worker.training.orders import Order

_SECONDS = 60
SCRIPTED = "tests.support.scripted_child"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def keeper() -> Iterator[SpareKeeper]:
    keeper = SpareKeeper({}, SCRIPTED)
    keeper.start()
    yield keeper
    process = keeper.take(Order(Path("/nowhere"), 0), (), {"for": "nobody"})
    assert process is None


def waiting(keeper: SpareKeeper) -> int:
    wait_until(lambda: keeper.waiting_pid, timeout=_SECONDS, what="a spare process")
    pid = keeper.waiting_pid
    assert pid is not None
    return pid


def until_it_ends(child: TrainingChild) -> list[AnyChildEvent]:
    wait_until(lambda: child.has_ended, timeout=_SECONDS, what="the end")
    return child.events_left()


def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_it_does_what_it_is_told_and_holds_the_device(tmp_path: Path, keeper: SpareKeeper) -> None:
    folder, pid = run_folder(tmp_path), waiting(keeper)
    lock = os.open(tmp_path / "device.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    order = Order(folder, 3)
    with TrainingChild(folder, 3, process=keeper.take(order, (lock,), {})) as child:
        os.close(lock)
        assert child.pid == pid
        assert keeper.waiting_pid is None
        another = os.open(tmp_path / "device.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert any(isinstance(event, ResultEvent) for event in until_it_ends(child))
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(another)
    assert (folder / "attempts.txt").read_text() == f"3 {pid}\n"


def test_none_is_kept_during_a_training_and_one_after_it(
    tmp_path: Path, keeper: SpareKeeper
) -> None:
    folder, first = run_folder(tmp_path), waiting(keeper)
    with TrainingChild(folder, 1, process=keeper.take(Order(folder, 1), (), {})) as child:
        assert child.pid == first
        # A second training would find none and start its own.
        assert keeper.take(Order(folder, 2), (), {}) is None
    keeper.go_on()
    assert waiting(keeper) != first


def test_one_that_died_is_not_waited_for(tmp_path: Path, keeper: SpareKeeper) -> None:
    os.kill(waiting(keeper), signal.SIGKILL)
    wait_until(lambda: keeper.waiting_pid is None, timeout=_SECONDS, what="its death")
    assert keeper.take(Order(tmp_path, 1), (), {}) is None


@pytest.mark.parametrize("what", ["code", "environment"])
def test_one_from_before_a_change_is_ended(
    what: str, tmp_path: Path, keeper: SpareKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = waiting(keeper)
    if what == "code":
        monkeypatch.setattr("worker.spare.newest_code", lambda: 2**62)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert keeper.take(Order(tmp_path, 1), (), {}) is None
    assert process_start(pid) is None


def test_one_for_another_device_is_not_taken(tmp_path: Path, keeper: SpareKeeper) -> None:
    pid = waiting(keeper)
    assert keeper.take(Order(tmp_path, 1), (), {"CUDA_VISIBLE_DEVICES": "GPU-1"}) is None
    assert process_start(pid) is None


def test_it_dies_with_the_worker() -> None:
    program = (
        "import time; from worker.spare import SpareKeeper\n"
        f"keeper = SpareKeeper({{}}, {SCRIPTED!r}); keeper.start()\n"
        "while keeper.waiting_pid is None: time.sleep(0.05)\n"
        "print(keeper.waiting_pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        started = process_start(pid)
        assert started is not None
        worker.kill()
    wait_until(lambda: process_start(pid) != started, timeout=_SECONDS, what="the spare's death")


def test_only_the_very_same_process_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True) as process:
        started = process_start(process.pid)
        assert started is not None
        assert not kill_stale_child(process.pid, started + 1)
        assert not kill_stale_child(process.pid, None)
        assert process.poll() is None
        assert kill_stale_child(process.pid, started)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_the_real_one_learns_the_same(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path)
    folders = [
        make_run_folder(tmp_path / name, recipe_for(base, epochs=1), sums(8))
        for name in ("warm", "cold")
    ]
    keeper = SpareKeeper({"OMP_NUM_THREADS": "1"})
    keeper.start()
    waiting(keeper)
    results = []
    for folder in folders:
        process = keeper.take(Order(folder, 1), (), {"OMP_NUM_THREADS": "1"})
        assert (process is not None) == (folder.name == "warm")
        with TrainingChild(
            folder, 1, environment={"OMP_NUM_THREADS": "1"}, process=process
        ) as child:
            results += [e for e in until_it_ends(child) if isinstance(e, ResultEvent)]
    assert results[0].adapter_sha256 == results[1].adapter_sha256
