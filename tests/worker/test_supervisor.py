"""The supervisor with a real process under it, whose faults are scripted."""

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import Engine, make_url, text

from app.adapters.tables import Adapter
from app.clock import now
from app.database.engine import build_engine
from app.database.session import transaction
from app.leases.tables import LEASE_SECONDS
from app.runs import service, steering
from app.runs.child_events import ResultEvent
from app.runs.log_file import last_lines
from app.runs.repository import lock, metrics, shown_samples
from app.runs.status import RunStatus
from app.runs.watching.repository import events_after
from app.settings import get_settings
from app.storage.folders import Storage
from app.upkeep.sweeper import Sweeper
from tests.support.outages import Proxy
from tests.support.runs import attempts, get_run, lose_lease, queue_run, write_script
from tests.support.waiting import wait_until
from tests.support.workers import is_running
from worker.device_lock import DeviceLock, LockHolder
from worker.kernel_kills import KernelKills
from worker.promotion import check_adapter
from worker.run_queue import execute_waiting_runs
from worker.training.failures import disk_full

_CHILD = "tests.support.scripted_child"
# What is stopped in its middle has to be far from its end, however slow this machine is.
SLOW = {"steps": 100, "step_seconds": 0.1}
SAME_BUT_FAST = {"steps": 100, "step_seconds": 0.0}


class Worker:
    """A worker's loop in a thread of this process."""

    def __init__(self, engine: Engine, storage: Storage) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=execute_waiting_runs,
            args=(engine, storage, get_settings(), self._stop.is_set, _CHILD),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the worker did not end"


def execute(engine: Engine, storage: Storage) -> None:
    with Worker(engine, storage) as worker:
        worker.join()


def _no_room(*_: object) -> None:
    raise ValueError("no answer that could be read")


def adapter_of(engine: Engine, run_id: str) -> Adapter | None:
    with transaction(engine, read_only=True) as session:
        return session.get(Adapter, run_id)


def trained_weights(storage: Storage, run_id: str) -> bytes:
    return storage.path("runs", run_id, "adapter", "adapter_model.safetensors").read_bytes()


class TestARunThatGoesWell:
    def test_it_ends_as_a_version(self, engine: Engine, storage: Storage, project_id: str) -> None:
        first, second = (queue_run(engine, storage, project_id) for _ in range(2))
        execute(engine, storage)
        for run_id in (first, second):
            run = get_run(engine, run_id)
            assert run.status == RunStatus.SUCCEEDED, run.failure
            assert run.result is not None
            adapter = adapter_of(engine, run_id)
            assert adapter is not None
            assert adapter.sha256 == run.result["adapter_sha256"]
            assert adapter.version_number == run.version_number
            folder = storage.path("runs", run_id)
            assert trained_weights(storage, run_id)
            assert not (folder / "checkpoints").exists()
            assert not list(folder.glob(".adapter-*"))
        with transaction(engine, read_only=True) as session:
            assert len(metrics(session, first, ["train_loss"])) == 20
            assert len(shown_samples(session, first, None)) == 3
            kinds = [entry.kind for entry in events_after(session, first, 0, 1000)]
        assert kinds[0] == kinds[-1] == "status"
        assert {"phase", "plan", "metrics", "sample", "checkpoint"} <= set(kinds)

    def test_garbage_and_secrets(
        self, engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TAILOR_INFERENCE_TOKEN", "very secret")
        monkeypatch.setenv("HF_TOKEN", "very secret")
        run_id = queue_run(engine, storage, project_id, {"talks_garbage": True})
        execute(engine, storage)
        assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
        log = (storage.path("runs", run_id) / "log.txt").read_text()
        assert "very secret" not in log
        assert "TAILOR_" not in log
        assert "HF_HUB_OFFLINE" in log
        assert "a line that is no event was left out" in log
        assert last_lines(storage.path("runs", run_id))


class TestARunThatFails:
    def test_a_fault_of_the_data_is_final(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        failure = {
            "code": "no_usable_examples",
            "reason": "None can be used.",
            "next_step": "Add some.",
            "details": "why",
            "permanent": True,
        }
        run_id = queue_run(engine, storage, project_id, {"failure": failure})
        execute(engine, storage)
        run = get_run(engine, run_id)
        assert run.status == RunStatus.FAILED
        assert run.failure == failure
        assert len(attempts(storage, run_id)) == 1

    def test_a_poison_run_ends_after_three_tries(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        poison = queue_run(engine, storage, project_id, {"crash_signal": signal.SIGSEGV})
        healthy = queue_run(engine, storage, project_id)
        execute(engine, storage)
        run = get_run(engine, poison)
        assert run.status == RunStatus.FAILED
        assert run.failure is not None
        assert "SIGSEGV" in run.failure["details"]
        assert len(attempts(storage, poison)) == 3
        assert get_run(engine, healthy).status == RunStatus.SUCCEEDED

    def test_a_recipe_that_nobody_can_read_holds_up_nobody(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        damaged, healthy = (queue_run(engine, storage, project_id) for _ in range(2))
        with transaction(engine) as session:
            run = lock(session, damaged)
            assert run is not None
            run.recipe = {"preset": "quick", "epochs": 3}
        execute(engine, storage)
        assert get_run(engine, healthy).status == RunStatus.SUCCEEDED
        ended = get_run(engine, damaged)
        assert ended.status == RunStatus.FAILED
        assert ended.failure is not None
        assert "settings" in ended.failure["reason"]
        with transaction(engine) as session:
            again = service.start_again(session, storage, ended, None)
            assert again.recipe["epochs"] == 3
        execute(engine, storage)
        assert get_run(engine, again.id).status == RunStatus.SUCCEEDED

    def test_a_worker_that_met_a_fault_before_a_training_trains_the_next(
        self,
        engine: Engine,
        storage: Storage,
        project_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = queue_run(engine, storage, project_id)
        with monkeypatch.context() as patch:
            patch.setattr("worker.run_queue.make_room", _no_room)
            with pytest.raises(ValueError, match="no answer"):
                execute_waiting_runs(engine, storage, get_settings(), lambda: False, _CHILD)
        lose_lease(engine, run_id)
        execute(engine, storage)
        assert get_run(engine, run_id).status == RunStatus.SUCCEEDED

    def test_a_run_that_is_stopped_while_room_is_made_holds_up_nobody(
        self,
        engine: Engine,
        storage: Storage,
        project_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stopped, next_one = (queue_run(engine, storage, project_id) for _ in range(2))

        def stop_the_first(*_: object) -> None:
            with transaction(engine) as session:
                run = get_run(engine, stopped)
                if run.status != RunStatus.CANCELLED:
                    steering.cancel_run(session, run)

        monkeypatch.setattr("worker.run_queue.make_room", stop_the_first)
        execute(engine, storage)
        assert get_run(engine, stopped).status == RunStatus.CANCELLED
        assert get_run(engine, next_one).status == RunStatus.SUCCEEDED

    @pytest.mark.parametrize("is_permanent", ["", "permanent"])
    def test_only_what_can_go_on_keeps_its_checkpoints(
        self, engine: Engine, storage: Storage, project_id: str, is_permanent: str
    ) -> None:
        crash = {"crash_signal": signal.SIGKILL, "crash_at_step": 12, "crash_attempts": 3}
        run_id = queue_run(engine, storage, project_id, crash)
        execute(engine, storage)
        with transaction(engine) as session:
            run = lock(session, run_id)
            assert run is not None
            assert run.failure is not None
            run.failure = {**run.failure, "permanent": bool(is_permanent)}
            run.finished_at = now() - timedelta(minutes=2)
        Sweeper(engine, storage).sweep()
        assert (storage.path("runs", run_id) / "checkpoints").exists() != bool(is_permanent)

    def test_what_the_machine_broke_off_goes_on_where_it_was_even_after_its_end(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        unbroken = queue_run(engine, storage, project_id)
        crash = {"crash_signal": signal.SIGKILL, "crash_at_step": 12, "crash_attempts": 3}
        broken = queue_run(engine, storage, project_id, crash)
        execute(engine, storage)
        assert get_run(engine, broken).status == RunStatus.FAILED
        with transaction(engine) as session:
            run = lock(session, broken)
            assert run is not None
            run.finished_at = now() - timedelta(days=2)
        Sweeper(engine, storage).sweep()
        with transaction(engine) as session:
            steering.continue_run(session, get_run(engine, broken))
        execute(engine, storage)
        run = get_run(engine, broken)
        assert run.status == RunStatus.SUCCEEDED, run.failure
        assert run.plan is not None
        assert run.plan["resumed_from_step"] == 10
        assert trained_weights(storage, broken) == trained_weights(storage, unbroken)

    def test_a_process_that_dies_once_goes_on_where_it_was(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        unbroken = queue_run(engine, storage, project_id)
        crash = {"crash_signal": signal.SIGKILL, "crash_at_step": 12, "crash_attempts": 1}
        broken = queue_run(engine, storage, project_id, crash)
        execute(engine, storage)
        assert get_run(engine, broken).status == RunStatus.SUCCEEDED
        assert len(attempts(storage, broken)) == 2
        assert trained_weights(storage, broken) == trained_weights(storage, unbroken)
        plan = get_run(engine, broken).plan
        assert plan is not None
        assert plan["resumed_from_step"] == 10

    @pytest.mark.parametrize(("fits", "tries"), [(5, 4), (9, 7)])
    def test_what_the_kernel_ended_for_want_of_memory_goes_on_with_less(
        self,
        engine: Engine,
        storage: Storage,
        project_id: str,
        monkeypatch: pytest.MonkeyPatch,
        fits: int,
        tries: int,
    ) -> None:
        monkeypatch.setattr(KernelKills, "explain", lambda _, exit_code: exit_code == -9)
        run_id = queue_run(engine, storage, project_id, {"lowest_rung": 8, "rung_that_fits": fits})
        execute(engine, storage)
        run = get_run(engine, run_id)
        # From rung 0 to 1, 3 and 7; then 8, the last, which is tried as often as any other fault.
        assert len(attempts(storage, run_id)) == tries
        if fits <= 8:
            assert run.status == RunStatus.SUCCEEDED, run.failure
            assert run.memory_note == "Rung 7 it is."
            return
        assert run.status == RunStatus.FAILED
        assert run.failure is not None
        assert run.failure["code"] == "out_of_memory"
        assert "3 times in a row" in run.failure["reason"]

    def test_an_adapter_that_changed_after_it_was_announced_is_no_version(
        self, engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = queue_run(engine, storage, project_id)
        folder = storage.path("runs", run_id)

        def damaged(_: Path, result: ResultEvent) -> None:
            (folder / result.adapter_folder / "adapter_model.safetensors").write_bytes(b"other")
            check_adapter(folder, result)

        monkeypatch.setattr("worker.supervisor.check_adapter", damaged)
        execute(engine, storage)
        run = get_run(engine, run_id)
        assert run.status == RunStatus.FAILED
        assert run.failure is not None
        assert run.failure["code"] == "damaged_result"
        assert adapter_of(engine, run_id) is None


@pytest.mark.one_database
class TestAFullDisk:
    def test_the_run_rests_until_someone_has_made_room(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        unbroken = queue_run(engine, storage, project_id)
        failure = disk_full(5_000, 10).as_event()
        script = {"failure": failure, "failure_attempts": 1}
        run_id = queue_run(engine, storage, project_id, script)
        execute(engine, storage)
        self._goes_on(engine, storage, run_id, unbroken, "5\N{NO-BREAK SPACE}kB of room is needed")

    def test_a_process_that_could_not_be_noted_is_ended_and_the_run_rests(
        self,
        engine: Engine,
        storage: Storage,
        project_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        unbroken = queue_run(engine, storage, project_id)
        execute(engine, storage)
        run_id = queue_run(engine, storage, project_id, {"stops_at_phase": "loading_model"})

        def refuse(_lock: DeviceLock, holder: LockHolder) -> None:
            wait_until(lambda: attempts(storage, run_id), timeout=60, what="the process")
            assert is_running(holder.pid)
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(DeviceLock, "sign", refuse)
            execute(engine, storage)
        ((_, pid),) = attempts(storage, run_id)
        assert not is_running(pid)
        write_script(storage, run_id, {})
        self._goes_on(engine, storage, run_id, unbroken, "is full")

    def _goes_on(
        self, engine: Engine, storage: Storage, run_id: str, unbroken: str, said: str
    ) -> None:
        run = get_run(engine, run_id)
        assert run.status == RunStatus.PAUSED
        assert run.failure is not None
        assert said in run.failure["reason"]
        with transaction(engine) as session:
            steering.continue_run(session, run)
        execute(engine, storage)
        assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
        assert trained_weights(storage, run_id) == trained_weights(storage, unbroken)


class TestStopping:
    @pytest.mark.parametrize(
        "phase",
        ["loading_data", "loading_model", "measuring_base", "training", "evaluating", "saving"],
    )
    def test_cancel_in_each_phase(
        self, engine: Engine, storage: Storage, project_id: str, phase: str
    ) -> None:
        script = {"stops_at_phase": phase, "ignores_sigterm": True}
        run_id = queue_run(engine, storage, project_id, script)
        with Worker(engine, storage) as worker:
            wait_until(
                lambda: get_run(engine, run_id).phase == phase, timeout=60, what=f"phase {phase}"
            )
            ((_, pid),) = attempts(storage, run_id)
            began = time.monotonic()
            with transaction(engine) as session:
                steering.cancel_run(session, get_run(engine, run_id))
            assert get_run(engine, run_id).status == RunStatus.CANCELLED
            worker.join()
        assert time.monotonic() - began < 10
        assert not is_running(pid)
        run = get_run(engine, run_id)
        assert run.status == RunStatus.CANCELLED
        assert adapter_of(engine, run_id) is None
        assert not (storage.path("runs", run_id) / "checkpoints").exists()

    def test_a_worker_that_stops_saves_and_gives_back(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        unbroken = queue_run(engine, storage, project_id, SAME_BUT_FAST)
        execute(engine, storage)
        run_id = queue_run(engine, storage, project_id, SLOW)
        with Worker(engine, storage) as worker:
            wait_until(lambda: get_run(engine, run_id).step > 3, timeout=60, what="a few steps")
            worker.stop()
        run = get_run(engine, run_id)
        assert (run.status, run.attempts, run.lease_owner) == (RunStatus.QUEUED, 0, None)
        assert "was stopped for a moment" in run.phase_message
        write_script(storage, run_id, SAME_BUT_FAST)
        execute(engine, storage)
        assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
        assert trained_weights(storage, run_id) == trained_weights(storage, unbroken)

    def test_a_process_that_someone_else_stopped_goes_on_and_it_counts_as_no_mishap(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        run_id = queue_run(engine, storage, project_id, SLOW)
        with Worker(engine, storage) as worker:
            wait_until(lambda: get_run(engine, run_id).step > 3, timeout=60, what="a few steps")
            ((_, pid),) = attempts(storage, run_id)
            write_script(storage, run_id, SAME_BUT_FAST)
            os.kill(pid, signal.SIGTERM)
            worker.join()
        run = get_run(engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, run.failure
        assert run.attempts == 1
        with transaction(engine, read_only=True) as session:
            said = [str(e.payload.get("message")) for e in events_after(session, run_id, 0, 1000)]
        assert any("was stopped for a moment" in message for message in said)
        assert not any("ended before it was done" in message for message in said)

    def test_a_project_that_is_deleted_takes_its_training_along(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        run_id = queue_run(engine, storage, project_id, {"stops_at_phase": "training"})
        with Worker(engine, storage) as worker:
            wait_until(
                lambda: get_run(engine, run_id).phase == "training", timeout=60, what="training"
            )
            ((_, pid),) = attempts(storage, run_id)
            with transaction(engine) as session:
                session.execute(text("DELETE FROM projects"))
            worker.join()
        assert not is_running(pid)
        assert not storage.path("runs", run_id).exists()


class TestLosingTheRun:
    def test_a_run_taken_by_another_is_left_alone(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        run_id = queue_run(engine, storage, project_id, {"stops_at_phase": "training"})
        with Worker(engine, storage) as worker:
            wait_until(
                lambda: get_run(engine, run_id).phase == "training", timeout=60, what="training"
            )
            ((fence, pid),) = attempts(storage, run_id)
            with transaction(engine) as session:
                run = lock(session, run_id)
                assert run is not None
                run.fence = fence + 7
            before = get_run(engine, run_id)
            worker.join()
        assert not is_running(pid)
        after = get_run(engine, run_id)
        assert (after.fence, after.event_count) == (before.fence, before.event_count)
        assert after.status == before.status

    def test_a_process_that_outlived_its_claim_is_ended_before_the_next(
        self, engine: Engine, storage: Storage, project_id: str
    ) -> None:
        run_id = queue_run(engine, storage, project_id, {"stops_at_phase": "training"})
        with Worker(engine, storage) as stuck:
            wait_until(
                lambda: get_run(engine, run_id).phase == "training", timeout=60, what="training"
            )
            ((_, pid),) = attempts(storage, run_id)
            # The first worker would notice within a second; the next one is faster.
            lose_lease(engine, run_id)
            write_script(storage, run_id, {})
            execute(engine, storage)
            assert not is_running(pid)
            stuck.join()
        assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
        assert len(attempts(storage, run_id)) == 2


@contextmanager
def exclusive_lock(url: str) -> Iterator[None]:
    """Keep everyone else from writing to an SQLite database."""
    import sqlite3

    connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def outage(engine: Engine, proxy: Proxy | None) -> Iterator[None]:
    """Take the database away: PostgreSQL's connections end, SQLite's file is locked by another."""
    if proxy is None:
        with exclusive_lock(engine.url.render_as_string(hide_password=False)):
            yield
    else:
        proxy.close()
        yield
        proxy.is_open = True


def _train_through_an_outage(
    engine: Engine, storage: Storage, project_id: str, wait_meanwhile: Callable[[], object]
) -> None:
    """A training whose database goes away in its middle ends as if nothing had been."""
    proxy = None if engine.dialect.name == "sqlite" else Proxy(engine.url.port or 5432)
    url = engine.url if proxy is None else engine.url.set(host="127.0.0.1", port=proxy.port)
    workers_engine = build_engine(url.render_as_string(hide_password=False))
    # As often as in real life: who holds a run needs a moment to speak after an outage.
    sweeper = Sweeper(workers_engine, storage)
    run_id = queue_run(engine, storage, project_id, {"steps": 120, "step_seconds": 0.05})
    with Worker(workers_engine, storage) as worker:
        wait_until(lambda: get_run(engine, run_id).step > 2, timeout=60, what="a few steps")
        sweeper.start()
        with outage(engine, proxy):
            wait_meanwhile()
        worker.join()
    sweeper.stop()
    workers_engine.dispose()
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert len(attempts(storage, run_id)) == 1
    with transaction(engine, read_only=True) as session:
        assert len(metrics(session, run_id, ["train_loss"])) == 120


def test_training_goes_on_while_the_database_is_away(
    engine: Engine,
    storage: Storage,
    project_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A shorter patience of the database's driver, so that the worker's own is put to the test.
    monkeypatch.setattr("app.database.engine.SQLITE_BUSY_TIMEOUT_SECONDS", 1)
    said = "The database does not answer; the training goes on."
    _train_through_an_outage(
        engine,
        storage,
        project_id,
        lambda: wait_until(lambda: said in caplog.text, timeout=60, what="a write that fails"),
    )


@pytest.mark.slow
def test_training_outlives_a_database_that_is_away_for_half_a_minute(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    """As long as a lease: nobody takes the run for lost, and it is trained once."""
    _train_through_an_outage(
        engine, storage, project_id, lambda: threading.Event().wait(LEASE_SECONDS + 1)
    )


def test_the_log_is_bounded(tmp_path: Path) -> None:
    from worker.run_log import RunLog

    log = RunLog(tmp_path)
    for number in range(300):
        log.write(f"{number} " + "x" * 10_000 + "\n")
    assert (tmp_path / "log.txt").stat().st_size < 1_200_000
    assert last_lines(tmp_path, 2)[-1].startswith("299 ")
    assert json.dumps(last_lines(tmp_path))
    assert (tmp_path / "log.txt").stat().st_mode & 0o077 == 0
