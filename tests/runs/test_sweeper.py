"""What lost its worker is freed, what waits is remembered."""

import os
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.clock import now
from app.database.base import database_epoch
from app.database.session import transaction
from app.leases.repository import expired
from app.leases.tables import MAX_ATTEMPTS
from app.runs.holding import HeldRun, beat, claim_next_run
from app.runs.lost import free_lost_runs
from app.runs.queue.limits import WEEK_SECONDS
from app.runs.queue.tables import DeviceUse
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.steering import cancel_run
from app.storage.folders import Storage
from app.upkeep.sweeper import Sweeper, send_hints
from tests.support.devices import ONE_CPU, a_worker_is_there, cards
from tests.support.runs import get_run, queue_run
from tests.support.waiting import wait_until


def lose_worker(engine: Engine) -> HeldRun:
    """Claim a run, and let the lease be over."""
    with transaction(engine) as session:
        held = claim_next_run(session)
        assert held is not None
        run = lock(session, held.id)
        assert run is not None
        run.lease_expires_at = 1.0
    return held


def test_a_lost_run_goes_back_and_its_old_holder_is_out(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    held = lose_worker(engine)
    assert free_lost_runs(engine) == [run_id]
    run = get_run(engine, run_id)
    assert (run.status, run.lease_owner) == (RunStatus.QUEUED, None)
    assert run.fence > held.fence
    assert "stopped answering" in run.phase_message
    assert free_lost_runs(engine) == []


def test_a_living_worker_keeps_its_run(engine: Engine, storage: Storage, project_id: str) -> None:
    queue_run(engine, storage, project_id)
    held = lose_worker(engine)
    with transaction(engine) as session:
        beat(session, held)
    assert free_lost_runs(engine) == []


def test_after_three_lost_workers_it_ends_with_a_reason(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    for _ in range(MAX_ATTEMPTS):
        lose_worker(engine)
        assert free_lost_runs(engine) == [run_id]
    run = get_run(engine, run_id)
    assert run.status == RunStatus.FAILED
    assert run.failure is not None
    assert run.failure["code"] == "worker_lost"


def test_many_sweepers_free_a_run_once(engine: Engine, storage: Storage, project_id: str) -> None:
    run_id = queue_run(engine, storage, project_id)
    lose_worker(engine)
    with ThreadPoolExecutor(10) as pool:
        freed = [
            one for part in pool.map(lambda _: free_lost_runs(engine), range(10)) for one in part
        ]
    assert freed == [run_id]
    assert get_run(engine, run_id).fence == 2


def test_hints_are_sent_again_but_never_pile_up(
    engine: Engine, storage: Storage, project_id: str, hints: Path
) -> None:
    send_hints(engine)
    for _ in range(4):
        queue_run(engine, storage, project_id)
    assert not hints.exists(), "nobody is there who could be woken"
    a_worker_is_there(engine, ONE_CPU)
    a_worker_is_there(engine, cards(2))
    for _ in range(3):
        send_hints(engine)
    # One for each device: what is woken takes run after run.
    lying_there = {path.name: len(list(path.iterdir())) for path in hints.iterdir()}
    assert lying_there == {"runs-cpu": 1, "runs-cuda": 2}


def test_a_broker_that_is_away_costs_nothing(
    engine: Engine, storage: Storage, project_id: str, hints: Path
) -> None:
    a_worker_is_there(engine)
    run_id = queue_run(engine, storage, project_id)
    for lost in (hints / "runs-cpu").iterdir():
        lost.unlink()
    hints.parent.rename(hints.parent.with_name("away"))
    hints.parent.write_text("a file where the folder should be")
    send_hints(engine)
    assert get_run(engine, run_id).status == RunStatus.QUEUED


def test_a_sweeper_outlives_what_it_did_not_foresee(
    engine: Engine, storage: Storage, project_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = queue_run(engine, storage, project_id)
    shutil.rmtree(storage.path("uploads"))
    sweeper = Sweeper(engine, storage, seconds=0.01)
    sweeper.start()
    try:
        wait_until(lambda: "unforeseen" in caplog.text, timeout=20, what="a sweep that breaks")
        lose_worker(engine)
        wait_until(
            lambda: get_run(engine, run_id).status == RunStatus.QUEUED,
            timeout=20,
            what="the lost run to be freed",
        )
    finally:
        sweeper.stop()


def test_folders_are_tidied_but_nothing_that_is_still_needed(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    stopped, waiting = (queue_run(engine, storage, project_id) for _ in range(2))
    for run_id in (stopped, waiting):
        storage.folder("runs", run_id, "checkpoints", "step-5")
    nameless, fresh = storage.folder("runs", "nobodys"), storage.folder("runs", "beginning")
    os.utime(nameless, (1.0, 1.0))
    with transaction(engine) as session:
        run = lock(session, stopped)
        assert run is not None
        cancel_run(session, run)
        run.finished_at = now() - timedelta(minutes=2)
    Sweeper(engine, storage).sweep()
    assert (fresh.exists(), nameless.exists()) == (True, False)
    assert not storage.path("runs", stopped, "checkpoints").exists()
    assert storage.path("runs", stopped, "data").exists()
    assert storage.path("runs", waiting, "checkpoints", "step-5").exists()


def test_who_had_a_device_is_forgotten_when_no_limit_counts_it(
    engine: Engine, storage: Storage
) -> None:
    with transaction(engine) as session:
        moment = float(session.scalar(select(database_epoch())) or 0.0)
        session.add_all(
            DeviceUse(run_id=name, began_at=moment - 4 * WEEK_SECONDS, ended_at=ended_at)
            for name, ended_at in (
                ("long ago", moment - 2.01 * WEEK_SECONDS),
                ("of late", moment - 1.99 * WEEK_SECONDS),
                ("lasting", None),
            )
        )
    Sweeper(engine, storage).sweep()
    with transaction(engine, read_only=True) as session:
        assert {use.run_id for use in session.query(DeviceUse)} == {"of late", "lasting"}


@pytest.mark.one_database
def test_a_clock_that_is_ahead_takes_nothing_that_is_just_being_made(
    engine: Engine, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples are frozen into a run's folder before its row is there, and uploads take a while."""
    frozen, half_sent = storage.folder("runs", "beginning"), storage.path("tmp", "upload-1")
    half_sent.write_bytes(b"half")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 2 * 3600)
    Sweeper(engine, storage).sweep()
    assert frozen.exists()
    assert half_sent.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_waited_for_the_database_takes_nothing_from_others_who_did(
    engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer blocks everyone for longer than a lease; the worker that lives keeps its run."""
    run_id = queue_run(engine, storage, project_id)
    held = lose_worker(engine)
    has_read = threading.Event()

    def noted(*arguments: Any) -> list[str]:  # noqa: ANN401 (handed on)
        lost = expired(*arguments)
        has_read.set()
        return lost

    monkeypatch.setattr("app.runs.lost.expired", noted)
    blocker = sqlite3.connect(str(engine.url.database), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(free_lost_runs, engine)
        assert has_read.wait(30)
        # The sweep knows that the lease is over and waits to write, as the worker does.
        assert not wait([sweep], timeout=1.5).done
        blocker.execute("ROLLBACK")
        assert sweep.result(timeout=30) == []
    blocker.close()
    with transaction(engine) as session:
        beat(session, held)
    assert free_lost_runs(engine) == []
    assert get_run(engine, run_id).status == RunStatus.STARTING
