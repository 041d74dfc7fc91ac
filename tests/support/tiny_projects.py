"""Projects on a tiny base model, with examples for every objective, and runs of every method."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.base_models.files import fingerprint
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from app.datasets.content import NewExample
from app.datasets.service import add_examples
from app.projects.service import create_project
from app.projects.tables import Project
from app.runs.methods import METHODS, Method
from app.runs.objectives import Objective
from app.runs.recipe import RECIPE_FILE, Preset, Recipe, RecipeChoices
from app.runs.service import start_run
from app.storage.durable import write_atomically
from app.storage.folders import Storage
from tests.support.tiny_models import CONTEXT

_BASE_ID: Final = "tiny"
_EXAMPLES: Final = 30
FEW_EPOCHS: Final = 3
"""Over in a second or two."""
# Small enough for a model of two layers and 32 numbers a token.
_SMALL: Final = {"rank": 4, "block_size": 4, "virtual_tokens": 4, "encoder_size": 16}


@dataclass(frozen=True)
class Subject:
    """What is trained: a method and what it learns."""

    method: Method = Method.LORA
    objective: Objective = Objective.ANSWERS

    def __str__(self) -> str:
        return f"{self.method}-{self.objective}"


EVERY_SUBJECT: Final = (
    *(Subject(method=method) for method in Method),
    *(Subject(objective=objective) for objective in Objective if objective != Objective.ANSWERS),
)


def _question(number: int) -> str:
    return f"What is {number} and {number % 7}?"


def _answer(number: int) -> str:
    return f"It is {number + number % 7}." + " Yes." * (number % 5)


_EXAMPLE_OF: Final[dict[Objective, Callable[[int], NewExample]]] = {
    Objective.ANSWERS: lambda i: NewExample(_answer(i), _question(i)),
    Objective.TEXTS: lambda i: NewExample(f"{_question(i)} {_answer(i)} Hello there."),
    Objective.DPO: lambda i: NewExample(_answer(i), _question(i), rejected="Hello there."),
    Objective.ORPO: lambda i: NewExample(_answer(i), _question(i), rejected="Hello there."),
    Objective.KTO: lambda i: NewExample(_answer(i), _question(i), is_liked=i % 3 != 0),
    Objective.KINDS: lambda i: NewExample("odd" if i % 2 else "even", _question(i), is_label=True),
}


def add_tiny_base(session: Session, folder: Path) -> BaseModel:
    base = BaseModel(
        id=_BASE_ID,
        source="folder",
        name="Tiny Model",
        folder=str(folder.resolve()),
        fingerprint=fingerprint(folder),
        status=BaseModelStatus.READY,
        facts={"parameters": 50_000, "context_length": CONTEXT},
    )
    session.add(base)
    session.flush()
    return base


def add_tiny_project(session: Session, objective: Objective) -> Project:
    """Add a project on the tiny base model, whose owner is someone new."""
    user = User(email=f"{objective}@example.org", name="Someone", password_hash="-")
    session.add(user)
    session.flush()
    project = create_project(session, user.id, f"Learns {objective}")
    project.base_model_id = _BASE_ID
    add_examples(session, project.id, map(_EXAMPLE_OF[objective], range(_EXAMPLES)))
    return project


def queue_tiny_run(
    engine: Engine,
    storage: Storage,
    project_id: str,
    subject: Subject,
    prepare: Callable[[Path], object] = lambda _folder: None,
    epochs: int = FEW_EPOCHS,
) -> str:
    """Queue a run that saves where it is after every update.

    Args:
        engine: the database.
        storage: where the run gets its folder.
        project_id: whose examples are learned.
        subject: what is trained.
        prepare: is given the run's folder before anyone can claim the run.
        epochs: how often it goes through the examples.
    """
    names = {setting.name for setting in METHODS[subject.method].settings}
    choices = RecipeChoices(
        method=subject.method,
        method_settings={name: value for name, value in _SMALL.items() if name in names},
        objective=subject.objective,
        epochs=epochs,
        examples_per_update=4,
        evaluations=3,
    )
    with transaction(engine) as session:
        project, base = session.get_one(Project, project_id), session.get_one(BaseModel, _BASE_ID)
        run = start_run(session, storage, project, base, Preset.QUICK, choices, None)
        recipe = Recipe.model_validate({**run.recipe, "seconds_between_checkpoints": 0})
        run.recipe = recipe.model_dump(mode="json")
        folder = storage.path("runs", run.id)
        write_atomically(folder / RECIPE_FILE, recipe.model_dump_json().encode())
        prepare(folder)
        return run.id
