"""Pausing and finishing early: wishes that are heeded once, whoever holds the run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.clock import now
from app.database.session import transaction
from app.runs import holding, steering
from app.runs.errors import (
    AlreadyFinishingError,
    AlreadyOverError,
    NothingLearnedError,
    NotPausedError,
)
from app.runs.lost import free_lost_runs
from app.runs.progress.repository import Wishes
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.runs.watching.repository import events_after
from app.storage.folders import Storage
from tests.support.runs import get_run, queue_run
from worker.supervisor import _ended_without_a_word

Act = Callable[[Session, Run], None]


def do(engine: Engine, run_id: str, act: Act) -> None:
    with transaction(engine) as session:
        act(session, get_run(engine, run_id))


def claim(engine: Engine) -> holding.HeldRun:
    with transaction(engine) as session:
        held = holding.claim_next_run(session)
    assert held is not None
    return held


def change(engine: Engine, run_id: str, **values: object) -> None:
    with transaction(engine) as session:
        run = lock(session, run_id)
        assert run is not None
        for name, value in values.items():
            setattr(run, name, value)


def wishes(engine: Engine, held: holding.HeldRun) -> Wishes:
    with transaction(engine, read_only=True) as session:
        return holding.look(session, held)


@pytest.fixture
def run_id(engine: Engine, storage: Storage, project_id: str) -> str:
    return queue_run(engine, storage, project_id)


class TestPausing:
    def test_one_that_waits_rests_at_once_and_nobody_takes_it(
        self, engine: Engine, run_id: str
    ) -> None:
        do(engine, run_id, steering.pause_run)
        assert get_run(engine, run_id).status == RunStatus.PAUSED
        with transaction(engine) as session:
            assert holding.claim_next_run(session) is None
        do(engine, run_id, steering.continue_run)
        assert claim(engine).id == run_id

    def test_one_that_is_worked_on_is_given_back_as_paused(
        self, engine: Engine, run_id: str
    ) -> None:
        held = claim(engine)
        assert wishes(engine, held) == Wishes()
        do(engine, run_id, steering.pause_run)
        assert wishes(engine, held) == Wishes(pause=True)
        with transaction(engine) as session:
            holding.requeue(session, held, "It was saved.")
        run = get_run(engine, run_id)
        assert (run.status, run.lease_owner, run.failure) == (RunStatus.PAUSED, None, None)
        assert run.pause_requested_at is None
        assert run.fence > held.fence, "whoever held it writes nothing more"

    def test_however_often_it_is_asked_it_is_heeded_once(self, engine: Engine, run_id: str) -> None:
        claim(engine)
        before = get_run(engine, run_id).event_count
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: do(engine, run_id, steering.pause_run), range(8)))
        assert get_run(engine, run_id).event_count == before + 1

    @pytest.mark.parametrize("fault", ["the worker is lost", "the process dies"])
    def test_a_fault_meanwhile_ends_in_the_same_pause(
        self, engine: Engine, run_id: str, fault: str
    ) -> None:
        held = claim(engine)
        do(engine, run_id, steering.pause_run)
        if fault == "the worker is lost":
            change(engine, run_id, lease_expires_at=1.0)
            assert free_lost_runs(engine) == [run_id]
        else:
            with transaction(engine) as session:
                holding.fail(session, held, _ended_without_a_word(-9))
        assert get_run(engine, run_id).status == RunStatus.PAUSED
        do(engine, run_id, steering.continue_run)
        assert not wishes(engine, claim(engine)).pause

    def test_a_paused_one_can_be_stopped(self, engine: Engine, run_id: str) -> None:
        do(engine, run_id, steering.pause_run)
        do(engine, run_id, steering.cancel_run)
        assert get_run(engine, run_id).status == RunStatus.CANCELLED
        for act in (steering.pause_run, steering.finish_run):
            with pytest.raises(AlreadyOverError):
                do(engine, run_id, act)
        with pytest.raises(NotPausedError):
            do(engine, run_id, steering.continue_run)


class TestFinishing:
    def test_nothing_can_be_kept_of_what_has_learned_nothing(
        self, engine: Engine, run_id: str
    ) -> None:
        assert not steering.can_finish(get_run(engine, run_id))
        with pytest.raises(NothingLearnedError):
            do(engine, run_id, steering.finish_run)
        assert get_run(engine, run_id).finish_requested_at is None

    def test_the_next_worker_sees_the_wish_as_well(self, engine: Engine, run_id: str) -> None:
        first = claim(engine)
        assert not first.finishes
        change(engine, run_id, step=5)
        before = get_run(engine, run_id).event_count
        for _ in range(2):
            do(engine, run_id, steering.finish_run)
        assert get_run(engine, run_id).event_count == before + 1
        assert wishes(engine, first) == Wishes(finish=True)
        change(engine, run_id, lease_expires_at=1.0)
        assert free_lost_runs(engine) == [run_id]
        assert claim(engine).finishes

    def test_a_paused_one_waits_for_a_worker_that_finishes_it(
        self, engine: Engine, run_id: str
    ) -> None:
        change(engine, run_id, step=5)
        do(engine, run_id, steering.pause_run)
        do(engine, run_id, steering.finish_run)
        assert get_run(engine, run_id).status == RunStatus.QUEUED
        assert claim(engine).finishes

    def test_what_the_machine_broke_off_can_be_kept(self, engine: Engine, run_id: str) -> None:
        claim(engine)
        failure = {"code": "worker_lost", "permanent": False}
        change(
            engine,
            run_id,
            status=RunStatus.FAILED,
            step=5,
            failure=failure,
            finished_at=now(),
            lease_owner=None,
            lease_expires_at=None,
        )
        do(engine, run_id, steering.finish_run)
        run = get_run(engine, run_id)
        assert (run.status, run.failure, run.finished_at) == (RunStatus.QUEUED, None, None)
        assert claim(engine).finishes

    def test_whoever_finishes_pauses_no_more(self, engine: Engine, run_id: str) -> None:
        held = claim(engine)
        change(engine, run_id, step=5)
        do(engine, run_id, steering.pause_run)
        do(engine, run_id, steering.finish_run)
        assert wishes(engine, held) == Wishes(finish=True)
        with pytest.raises(AlreadyFinishingError):
            do(engine, run_id, steering.pause_run)
        with transaction(engine) as session:
            holding.requeue(session, held, "It was saved.")
        assert get_run(engine, run_id).status == RunStatus.QUEUED


def test_both_wishes_are_written_down(engine: Engine, run_id: str) -> None:
    claim(engine)
    change(engine, run_id, step=5)
    do(engine, run_id, steering.pause_run)
    do(engine, run_id, steering.finish_run)
    with transaction(engine, read_only=True) as session:
        said = [str(e.payload.get("message")) for e in events_after(session, run_id, 0, 100)]
    assert [message.split(":")[0] for message in said[-2:]] == [
        "It was asked to pause",
        "It was asked to finish",
    ]
