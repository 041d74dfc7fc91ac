"""Starting, stopping and going on."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from app.datasets.repository import ExampleRepository
from app.projects.tables import Project
from app.runs import service, steering
from app.runs.errors import (
    AlreadyOverError,
    BaseModelGoneError,
    BaseModelNotReadyError,
    NoExamplesError,
    NotPausedError,
)
from app.runs.holding import claim_next_run, fail
from app.runs.recipe import Preset, Recipe, RecipeChoices
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.folders import DiskFullError, Storage
from tests.support.devices import a_worker_is_there
from tests.support.runs import get_run, queue_run
from worker.supervisor import _ended_without_a_word


def start(engine: Engine, storage: Storage, project_id: str, **choices: object) -> Run:
    with transaction(engine) as session:
        project = session.get(Project, project_id)
        model = session.get(BaseModel, "starter")
        assert project is not None
        assert model is not None
        chosen = RecipeChoices.model_validate(choices)
        return service.start_run(session, storage, project, model, Preset.BALANCED, chosen, None)


def test_a_run_freezes_recipe_and_examples(
    engine: Engine, storage: Storage, project_id: str, hints: Path
) -> None:
    run = start(engine, storage, project_id, method_settings={"rank": 4}, seed=7)
    folder = storage.path("runs", run.id)
    recipe = Recipe.read(folder)
    assert recipe == Recipe.model_validate(get_run(engine, run.id).recipe)
    assert recipe.method_settings == {"rank": 4, "alpha": 32, "dropout": 0.0}
    assert recipe.seed == 7
    assert run.train_count == 25
    assert run.validation_count == 5
    lines = (folder / "data" / "train.jsonl").read_text().splitlines()
    assert len(lines) == 25
    assert json.loads(lines[0])["messages"][-1]["role"] == "assistant"
    assert (run.version_number, run.status, run.event_count) == (1, RunStatus.QUEUED, 1)
    assert run.expected_seconds is not None
    assert run.expected_seconds > 8
    assert not hints.exists(), "nobody is there who could be woken"
    a_worker_is_there(engine)
    start(engine, storage, project_id)
    assert [path.name for path in hints.iterdir()] == ["runs-cpu"]
    assert len(list((hints / "runs-cpu").iterdir())) == 1


def test_versions_are_counted(engine: Engine, storage: Storage, project_id: str) -> None:
    numbers = [start(engine, storage, project_id).version_number for _ in range(3)]
    assert numbers == [1, 2, 3]


def test_nothing_is_left_behind_by_a_start_that_fails(
    engine: Engine, storage: Storage, project_id: str, hints: Path
) -> None:
    with transaction(engine) as session:
        ExampleRepository(session).delete_some_of_project(project_id, 1000)
    with pytest.raises(NoExamplesError):
        start(engine, storage, project_id)
    assert list(storage.path("runs").iterdir()) == []
    assert not hints.exists()


def test_freezing_examples_does_not_wait_for_whoever_writes(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    with transaction(engine) as writing:
        model = writing.get(BaseModel, "starter")
        assert model is not None
        model.name = "Another name"
        writing.flush()
        with transaction(engine, read_only=True) as reading:
            frozen = service.freeze_examples(reading, storage, project_id, model)
    assert frozen.snapshot.train_count > 0
    assert (frozen.folder / "data" / "train.jsonl").is_file()


def test_a_full_disk_is_told_before_the_start(
    engine: Engine, storage: Storage, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "free_bytes", lambda _: 1000)
    with pytest.raises(DiskFullError):
        start(engine, storage, project_id)
    assert list(storage.path("runs").iterdir()) == []


def test_the_base_model_must_be_there(
    engine: Engine, storage: Storage, project_id: str, tmp_path: Path
) -> None:
    with transaction(engine) as session:
        model = session.get(BaseModel, "starter")
        assert model is not None
        model.folder = str(tmp_path / "gone")
    with pytest.raises(BaseModelGoneError):
        start(engine, storage, project_id)
    with transaction(engine) as session:
        model = session.get(BaseModel, "starter")
        assert model is not None
        model.status = BaseModelStatus.CHECKING
    with pytest.raises(BaseModelNotReadyError):
        start(engine, storage, project_id)


def test_stopping_takes_the_run_from_whoever_holds_it(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    with transaction(engine) as session:
        held = claim_next_run(session)
    assert held is not None
    with transaction(engine) as session:
        steering.cancel_run(session, get_run(engine, run_id))
    run = get_run(engine, run_id)
    assert run.status == RunStatus.CANCELLED
    assert run.fence > held.fence
    assert run.cancel_requested_at is not None
    assert run.finished_at is not None
    with pytest.raises(AlreadyOverError), transaction(engine) as session:
        steering.cancel_run(session, run)


def test_a_full_disk_pauses_until_someone_goes_on(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    with pytest.raises(NotPausedError), transaction(engine) as session:
        steering.continue_run(session, get_run(engine, run_id))
    with transaction(engine) as session:
        held = claim_next_run(session)
    assert held is not None
    failure = _ended_without_a_word(0).model_copy(
        update={"code": "disk_full", "reason": "5,000 bytes are needed."}
    )
    with transaction(engine) as session:
        assert fail(session, held, failure) == RunStatus.PAUSED
    assert get_run(engine, run_id).failure is not None
    with transaction(engine) as session:
        steering.continue_run(session, get_run(engine, run_id))
    run = get_run(engine, run_id)
    assert (run.status, run.failure, run.attempts) == (RunStatus.QUEUED, None, 0)
