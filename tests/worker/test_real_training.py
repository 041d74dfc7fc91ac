"""The real training process under the real supervisor: killed in the middle, it ends the same."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.base_models.tables import BaseModel
from app.database.session import transaction
from app.projects.tables import Project
from app.runs import service, steering
from app.runs.recipe import Preset, RecipeChoices
from app.runs.repository import metrics, shown_samples
from app.runs.status import RunStatus
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support import databases
from tests.support.runs import get_run, project_with_examples
from tests.support.waiting import wait_until
from tests.support.workers import children_of, command_of, is_running
from tests.worker.test_supervisor import trained_weights
from worker.child import TRAINING_MODULE
from worker.run_queue import execute_waiting_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_SECONDS = 300


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = databases.migrated_engine(databases.sqlite_url(tmp_path))
    yield engine
    engine.dispose()


def queue_real_run(engine: Engine, storage: Storage, project_id: str) -> str:
    with transaction(engine) as session:
        project, model = session.get(Project, project_id), session.get(BaseModel, "starter")
        assert project is not None
        assert model is not None
        choices = RecipeChoices(epochs=4, examples_per_update=4, method_settings={"rank": 4})
        return service.start_run(session, storage, project, model, Preset.QUICK, choices, None).id


def training_pid() -> int | None:
    """Return the training process, a child of this one."""
    for pid in children_of(os.getpid()):
        if TRAINING_MODULE.encode() in command_of(pid):
            return pid
    return None


def execute(engine: Engine, storage: Storage) -> None:
    execute_waiting_runs(engine, storage, get_settings(), lambda: False)


def test_killed_in_the_middle_it_learns_the_same(
    engine: Engine, storage: Storage, hints: Path
) -> None:
    del hints
    with transaction(engine) as session:
        project_id = project_with_examples(session, storage, 40).id
    unbroken, broken = (queue_real_run(engine, storage, project_id) for _ in range(2))

    def kill_once() -> None:
        wait_until(lambda: get_run(engine, broken).step >= 10, timeout=_SECONDS, what="ten steps")
        pid = training_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_once)
    killer.start()
    execute(engine, storage)
    killer.join()
    for run_id in (unbroken, broken):
        run = get_run(engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, run.failure
        assert run.result is not None
        assert run.result["loss_after"] < run.result["loss_before"]
    assert trained_weights(storage, broken) == trained_weights(storage, unbroken)
    plan = get_run(engine, broken).plan
    assert plan is not None
    assert plan["resumed_from_step"] > 0
    with transaction(engine, read_only=True) as session:
        names = ["train_loss", "validation_loss"]
        assert metrics(session, broken, names) == metrics(session, unbroken, names)
        samples = shown_samples(session, broken, None)
    assert [sample.position for sample in samples] == [0, 1, 2]


def test_stopping_the_real_one_takes_a_moment(
    engine: Engine, storage: Storage, hints: Path
) -> None:
    del hints
    with transaction(engine) as session:
        project_id = project_with_examples(session, storage, 40).id
    run_id = queue_real_run(engine, storage, project_id)
    ended_after: list[float] = []

    def cancel() -> None:
        wait_until(
            # A phase may be over before it is seen here.
            lambda: (
                get_run(engine, run_id).phase in {"loading_model", "measuring_base", "training"}
            ),
            timeout=_SECONDS,
            what="the model being loaded",
        )
        pid = training_pid()
        assert pid is not None
        began = time.monotonic()
        with transaction(engine) as session:
            steering.cancel_run(session, get_run(engine, run_id))
        wait_until(lambda: not is_running(pid), timeout=30, what="its end")
        ended_after.append(time.monotonic() - began)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    execute(engine, storage)
    canceller.join()
    assert ended_after[0] < 10
    assert get_run(engine, run_id).status == RunStatus.CANCELLED
