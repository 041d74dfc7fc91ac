"""A pause and an early finish, under the supervisor with a real process."""

import signal
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.runs import steering
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.folders import Storage
from tests.support.runs import attempts, get_run, lose_lease, queue_run, write_script
from tests.support.waiting import wait_until
from tests.support.workers import is_running
from tests.worker.test_supervisor import (
    SAME_BUT_FAST,
    SLOW,
    Worker,
    adapter_of,
    execute,
    trained_weights,
)


def when_it_learns(engine: Engine, run_id: str, act: Callable[[Session, Run], None]) -> None:
    wait_until(lambda: get_run(engine, run_id).step > 3, timeout=60, what="a few steps")
    with transaction(engine) as session:
        act(session, get_run(engine, run_id))


def test_a_pause_frees_the_worker_and_costs_nothing(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    paused = queue_run(engine, storage, project_id, SLOW)
    other = queue_run(engine, storage, project_id, SAME_BUT_FAST)
    with Worker(engine, storage) as worker:
        when_it_learns(engine, paused, steering.pause_run)
        worker.join()
    run = get_run(engine, paused)
    assert (run.status, run.lease_owner, run.seconds_left) == (RunStatus.PAUSED, None, None)
    assert run.step > 3
    assert get_run(engine, other).status == RunStatus.SUCCEEDED, "the worker went on to the next"
    write_script(storage, paused, SAME_BUT_FAST)
    with transaction(engine) as session:
        steering.continue_run(session, run)
    execute(engine, storage)
    assert get_run(engine, paused).status == RunStatus.SUCCEEDED
    assert trained_weights(storage, paused) == trained_weights(storage, other)
    plan = get_run(engine, paused).plan
    assert plan is not None
    assert plan["resumed_from_step"] == run.step


def test_a_process_that_does_not_listen_is_ended_and_rests_all_the_same(
    engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervisor._PAUSE_SECONDS", 0.5)
    run_id = queue_run(engine, storage, project_id, {**SLOW, "ignores_sigterm": True})
    with Worker(engine, storage) as worker:
        when_it_learns(engine, run_id, steering.pause_run)
        worker.join()
    ((_, pid),) = attempts(storage, run_id)
    assert not is_running(pid)
    assert get_run(engine, run_id).status == RunStatus.PAUSED


def test_an_early_finish_makes_a_version_of_what_was_learned(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id, SLOW)
    with Worker(engine, storage) as worker:
        when_it_learns(engine, run_id, steering.finish_run)
        worker.join()
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert run.result is not None
    assert (run.result["ending"], run.result["planned_steps"]) == ("asked", 100)
    assert 3 < run.result["steps"] == run.step < 100
    assert run.result["epochs"] == pytest.approx(run.step / 100)
    assert adapter_of(engine, run_id) is not None


def test_a_finish_outlives_the_death_of_the_worker(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id, {"stops_at_phase": "evaluating"})
    with Worker(engine, storage) as worker:
        wait_until(
            lambda: get_run(engine, run_id).phase == "evaluating", timeout=60, what="evaluating"
        )
        write_script(storage, run_id, {"steps": 500, "step_seconds": 0.3})
        with transaction(engine) as session:
            steering.finish_run(session, get_run(engine, run_id))
        lose_lease(engine, run_id)
        worker.join()
    run = get_run(engine, run_id)
    assert run.status in {RunStatus.SUCCEEDED, RunStatus.QUEUED}
    if run.status == RunStatus.QUEUED:
        execute(engine, storage)
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert run.result is not None
    assert run.result["steps"] == 20, "it made no step more than it had made"


def test_what_is_killed_while_it_finishes_is_finished_by_the_next(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    script = {**SLOW, "crash_signal": signal.SIGKILL, "crash_at_step": 8, "crash_attempts": 1}
    run_id = queue_run(engine, storage, project_id, script)
    with Worker(engine, storage) as worker:
        wait_until(lambda: len(attempts(storage, run_id)) == 2, timeout=60, what="the second try")
        with transaction(engine) as session:
            steering.finish_run(session, get_run(engine, run_id))
        worker.join()
    run = get_run(engine, run_id)
    assert run.status == RunStatus.SUCCEEDED, run.failure
    assert run.result is not None
    assert 5 <= run.result["steps"] < 100
