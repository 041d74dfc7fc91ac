"""Projects with examples, and runs that wait: made by the services that people use."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.base_models.service import register_built_in
from app.base_models.tables import BaseModel
from app.database.session import transaction
from app.datasets.content import NewExample
from app.datasets.service import add_examples
from app.ids import new_id
from app.projects.service import create_project
from app.projects.tables import Project
from app.runs.lost import free_lost_runs
from app.runs.recipe import Preset, Recipe, RecipeChoices
from app.runs.repository import lock
from app.runs.service import start_run
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.folders import Storage
from app.workers.device import DeviceFacts
from tests.support.scripted_child import SCRIPT_FILE
from tests.support.waiting import wait_until

# For runs that wait, and are taken, and are never trained.
RECIPE_OF_NOTHING: Final = Recipe(
    preset=Preset.QUICK,
    base_model_id="starter",
    base_model_name="Tailor Starter",
    base_model_folder=Path("/nowhere"),
    base_model_fingerprint="0" * 64,
    learning_rate=0.001,
    epochs=1,
    examples_per_update=8,
    max_tokens_per_example=64,
)
NO_CHOICES: Final = RecipeChoices()


def examples(count: int) -> list[NewExample]:
    return [
        NewExample(
            question=f"What does article {number} cost?",
            answer=f"Article {number} costs {number * 3} pounds, and we are glad to send it.",
        )
        for number in range(count)
    ]


def project_with_examples(session: Session, storage: Storage, count: int = 30) -> Project:
    """A project on the starter, whose owner is someone new."""
    register_built_in(session, storage)
    user = User(email=f"{new_id()}@example.org", name="Someone", password_hash="-")
    session.add(user)
    session.flush()
    project = create_project(session, user.id, "Prices")
    project.base_model_id = "starter"
    add_examples(session, project.id, examples(count))
    return project


def queue_run(
    engine: Engine,
    storage: Storage,
    project_id: str,
    script: dict[str, Any] | None = None,
    choices: RecipeChoices = NO_CHOICES,
) -> str:
    """Queue a run of the quick preset; `script` tells the scripted child what to do."""
    with transaction(engine) as session:
        project = session.get(Project, project_id)
        model = session.get(BaseModel, "starter")
        assert project is not None
        assert model is not None
        run = start_run(session, storage, project, model, Preset.QUICK, choices, None)
        write_script(storage, run.id, script or {})
    return run.id


def add_past_run(
    session: Session,
    project_id: str,
    device: DeviceFacts | None = None,
    number: int = 1,
    base_model_id: str = "starter",
    **result: float,
) -> None:
    """A run of one pass over 100 examples that succeeded on a device, and what it measured."""
    measured = {"tokens_seen": 5000, "seconds": 10.0, "epochs": 1.0, "devices": 1} | result
    session.add(
        Run(
            project_id=project_id,
            version_number=number,
            base_model_id=base_model_id,
            status=RunStatus.SUCCEEDED,
            recipe=RECIPE_OF_NOTHING.model_dump(mode="json"),
            snapshot_sha256="0" * 64,
            train_count=100,
            validation_count=0,
            event_count=0,
            device=device.each()[0].as_json() if device else None,
            result=measured,
            finished_at=datetime(2026, 1, number, tzinfo=UTC),
        )
    )


def write_script(storage: Storage, run_id: str, script: dict[str, Any]) -> None:
    (storage.path("runs", run_id) / SCRIPT_FILE).write_text(json.dumps(script))


def get_run(engine: Engine, run_id: str) -> Run:
    with transaction(engine, read_only=True) as session:
        run = session.get(Run, run_id)
        assert run is not None
        return run


def lose_lease(engine: Engine, run_id: str) -> None:
    """Take a run from its holder, as the sweeper does when a lease is over.

    A holder that lives renews its lease, perhaps just between the two moments; then once more.
    """

    def lost() -> bool:
        with transaction(engine) as session:
            run = lock(session, run_id)
            assert run is not None
            run.lease_expires_at = 1.0
        return free_lost_runs(engine) == [run_id]

    wait_until(lost, timeout=60, what=f"run {run_id} to be lost")


def attempts(storage: Storage, run_id: str) -> Sequence[tuple[int, int]]:
    """The (fence, process id) of every scripted child that was started for a run."""
    path: Path = storage.path("runs", run_id) / "attempts.txt"
    if not path.exists():
        return []
    pairs = (line.split() for line in path.read_text().splitlines())
    return [(int(fence), int(pid)) for fence, pid in pairs]
