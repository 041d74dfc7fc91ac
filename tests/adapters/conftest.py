"""A version that was really trained, in a database and a data folder of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adapters.tables import Adapter
from app.base_models.files import fingerprint
from app.base_models.tables import BaseModel, BaseModelStatus
from app.projects.tables import Project
from app.runs.recipe import Recipe
from app.runs.status import RunStatus
from app.runs.tables import Run
from tests.support.hub_server import COMMIT
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import train_here
from tests.support.web import Web

RUN_ID = "a" * 16
BASE_ID = "tiny"
RESULT = {"loss_before": 6.0, "loss_after": 2.0, "seconds": 12.5}


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def recipe(base_folder: Path) -> Recipe:
    return recipe_for(base_folder, epochs=3, learning_rate=0.02)


@pytest.fixture(scope="session")
def trained_folder(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained; its adapter has its final name."""
    folder = make_run_folder(
        tmp_path_factory.mktemp("runs") / "run", recipe, sums(12), sums(5, first=50)
    )
    result = train_here(folder).only("result")
    finished: Path = folder / result["adapter_folder"]
    return finished.rename(folder / "adapter")


AddVersion = Callable[..., Project]


@pytest.fixture
def add_version(web: Web, base_folder: Path, recipe: Recipe, trained_folder: Path) -> AddVersion:
    """Add version 3 to a project, with a base model from one of the three sources."""

    def add(project: Project, source: str = "builtin") -> Project:
        with web.transaction() as session:
            base = BaseModel(
                id=BASE_ID,
                source=source,
                name="Tiny Model",
                hub_id="someone/tiny" if source == "hub" else None,
                revision=COMMIT if source == "hub" else None,
                folder=str(base_folder),
                status=BaseModelStatus.READY,
                facts={"licence": "Apache-2.0", "parameters": 50_000},
                fingerprint=fingerprint(base_folder),
            )
            run = Run(
                id=RUN_ID,
                project_id=project.id,
                version_number=3,
                base_model_id=BASE_ID,
                status=RunStatus.SUCCEEDED,
                recipe=recipe.model_dump(mode="json"),
                snapshot_sha256="5" * 64,
                train_count=12,
                validation_count=5,
                result=RESULT,
            )
            session.add(base)
            session.flush()
            session.add(run)
            session.flush()
            weights = trained_folder / "adapter_model.safetensors"
            session.add(
                Adapter(
                    run_id=RUN_ID,
                    project_id=project.id,
                    version_number=3,
                    base_model_id=BASE_ID,
                    sha256="9" * 64,
                    size_bytes=weights.stat().st_size,
                )
            )
        target = web.storage.folder("runs", RUN_ID) / "adapter"
        shutil.copytree(trained_folder, target)
        return project

    return add
