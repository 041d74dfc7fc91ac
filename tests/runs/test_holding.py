"""One claim per run, and nothing written under an old fence."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from app.database.session import transaction
from app.leases.repository import LostLeaseError
from app.leases.tables import MAX_ATTEMPTS
from app.runs import holding, steering
from app.runs.child_events import (
    CheckpointEvent,
    MetricsEvent,
    PhaseEvent,
    ProgressEvent,
    RestartedEvent,
    ResultEvent,
)
from app.runs.progress.batch import Batch, Intake
from app.runs.progress.repository import furthest_checkpoint
from app.runs.remedies import remedy
from app.runs.repository import metrics
from app.runs.status import RunStatus
from app.runs.tables import RunEvent
from app.runs.watching.repository import events_after
from app.storage.folders import Storage
from tests.support.runs import get_run, queue_run
from worker.supervisor import _ended_without_a_word

_CRASH = _ended_without_a_word(-11)


def claim(engine: Engine) -> holding.HeldRun | None:
    with transaction(engine) as session:
        return holding.claim_next_run(session)


def claimed(engine: Engine) -> holding.HeldRun:
    held = claim(engine)
    assert held is not None
    return held


def events_of(engine: Engine, run_id: str) -> list[RunEvent]:
    with transaction(engine, read_only=True) as session:
        return list(events_after(session, run_id, 0, 1000))


def test_of_fifty_workers_one_gets_the_run(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    with ThreadPoolExecutor(50) as pool:
        won = [held for held in pool.map(lambda _: claim(engine), range(50)) if held is not None]
    assert [(held.id, held.fence) for held in won] == [(run_id, 1)]
    run = get_run(engine, run_id)
    assert (run.status, run.attempts, run.fence) == (RunStatus.STARTING, 1, 1)


def test_many_workers_share_many_runs_in_their_order(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    queued = [queue_run(engine, storage, project_id) for _ in range(4)]
    assert claimed(engine).id == queued[0]
    with ThreadPoolExecutor(8) as pool:
        others = [held.id for held in pool.map(lambda _: claim(engine), range(8)) if held]
    # Whoever loses a race asks again by the next hint.
    while (held := claim(engine)) is not None:
        others.append(held.id)
    assert sorted(others) == sorted(queued[1:])


def test_an_old_fence_writes_nothing(engine: Engine, storage: Storage, project_id: str) -> None:
    run_id = queue_run(engine, storage, project_id)
    old = claimed(engine)
    with transaction(engine) as session:
        holding.requeue(session, old, "It was lost.")
    new = claimed(engine)
    assert new.fence > old.fence
    before = get_run(engine, run_id)
    batch = Batch(values={"step": 99}, events=[("log", {"message": "from the past"})])
    result = ResultEvent(
        event="result",
        best_step=1,
        steps=1,
        epochs=1,
        tokens_seen=1,
        seconds=1,
        adapter_folder=f".adapter-{old.fence}",
        adapter_sha256="0" * 64,
        adapter_bytes=1,
    )

    def never() -> None:
        raise AssertionError("an artifact was changed under an old fence")

    for act in (
        lambda session: holding.beat(session, old),
        lambda session: holding.look(session, old),
        lambda session: holding.write_batch(session, old, batch),
        lambda session: holding.fail(session, old, _CRASH),
        lambda session: holding.requeue(session, old, "?"),
        lambda session: holding.succeed(session, old, result, never),
    ):
        with pytest.raises(LostLeaseError), transaction(engine) as session:
            act(session)
    after = get_run(engine, run_id)
    assert (after.step, after.status, after.event_count) == (
        before.step,
        before.status,
        before.event_count,
    )


def test_events_have_no_gaps_and_metrics_no_doubles(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    held = claimed(engine)
    for value in (2.0, 1.0):
        intake = Intake(RunStatus.STARTING)
        intake.take(PhaseEvent(event="phase", phase="training", message="Now"))
        intake.take(MetricsEvent(event="metrics", step=5, values={"train_loss": value}))
        with transaction(engine) as session:
            holding.write_batch(session, held, intake.hand_over())
    sequences = [entry.sequence for entry in events_of(engine, run_id)]
    assert sequences == list(range(1, get_run(engine, run_id).event_count + 1))
    with transaction(engine, read_only=True) as session:
        assert metrics(session, run_id, ["train_loss"]) == [(5, "train_loss", 1.0)]


def test_events_that_are_too_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runs.progress.batch._MOST_EVENTS", 2)
    intake = Intake(RunStatus.TRAINING)
    for step in range(5):
        intake.take(MetricsEvent(event="metrics", step=step, values={"train_loss": 1.0}))
    events = intake.hand_over().events
    assert [kind for kind, _ in events] == ["metrics", "metrics", "log"]
    assert events[-1][1]["message"].startswith("3 messages")
    assert intake.hand_over().is_empty


def test_a_run_that_begins_anew_leaves_nothing_of_its_future_on_the_page(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    held = claimed(engine)
    for begins_anew in (False, True):
        intake = Intake(RunStatus.STARTING)
        if begins_anew:
            # What was heard and not yet written is of the old life as well.
            intake.take(MetricsEvent(event="metrics", step=60, values={"train_loss": 3.0}))
            intake.take(RestartedEvent(event="restarted"))
        step = 5 if begins_anew else 50
        intake.take(MetricsEvent(event="metrics", step=step, values={"train_loss": 2.0}))
        intake.take(
            CheckpointEvent(event="checkpoint", step=step, folder="c", manifest_sha256="0" * 64)
        )
        with transaction(engine) as session:
            holding.write_batch(session, held, intake.hand_over())
    with transaction(engine, read_only=True) as session:
        assert metrics(session, run_id, ["train_loss"]) == [(5, "train_loss", 2.0)]
        assert furthest_checkpoint(session, run_id) == 5
    assert get_run(engine, run_id).step == 0


def test_three_tries_and_no_more(engine: Engine, storage: Storage, project_id: str) -> None:
    run_id = queue_run(engine, storage, project_id)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        held = claimed(engine)
        with transaction(engine) as session:
            outcome = holding.fail(session, held, _CRASH)
        expected = RunStatus.QUEUED if attempt < MAX_ATTEMPTS else RunStatus.FAILED
        assert outcome == expected
    run = get_run(engine, run_id)
    assert run.failure is not None
    assert "3 times in a row" in run.failure["reason"]
    assert claim(engine) is None


def test_a_run_that_gets_on_may_have_more_mishaps(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    for step in (10, 20, 30, 40, 50):
        held = claimed(engine)
        checkpoint = CheckpointEvent(
            event="checkpoint", step=step, folder="c", manifest_sha256="0" * 64
        )
        intake = Intake(RunStatus.STARTING)
        intake.take(checkpoint)
        with transaction(engine) as session:
            holding.write_batch(session, held, intake.hand_over())
            holding.fail(session, held, _CRASH)
    assert get_run(engine, run_id).status == RunStatus.QUEUED


@pytest.mark.parametrize("told", [136, 140])
@pytest.mark.parametrize("is_paused", [True, False])
def test_what_nobody_works_on_stands_at_what_was_saved(
    engine: Engine, storage: Storage, project_id: str, told: int, *, is_paused: bool
) -> None:
    run_id = queue_run(engine, storage, project_id)
    held = claimed(engine)
    intake = Intake(RunStatus.STARTING)
    intake.take(ProgressEvent(event="progress", step=told, total_steps=200))
    intake.take(CheckpointEvent(event="checkpoint", step=138, folder="c", manifest_sha256="0" * 64))
    with transaction(engine) as session:
        holding.write_batch(session, held, intake.hand_over())
        if is_paused:
            steering.pause_run(session, get_run(engine, run_id))
        holding.requeue(session, held, "It was stopped for a moment.")
    run = get_run(engine, run_id)
    assert (run.status, run.step) == (RunStatus.PAUSED if is_paused else RunStatus.QUEUED, 138)
    if is_paused:
        assert remedy(run).label == "Go on from step 138"


def test_being_told_to_stop_is_no_mishap(engine: Engine, storage: Storage, project_id: str) -> None:
    run_id = queue_run(engine, storage, project_id)
    for _ in range(MAX_ATTEMPTS + 2):
        held = claimed(engine)
        with transaction(engine) as session:
            holding.requeue(session, held, "Tailor was stopped.")
    assert get_run(engine, run_id).status == RunStatus.QUEUED
