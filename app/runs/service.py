"""What people start, and what a start needs. Steering a run that exists: steering.py."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.base_models.repository import get as get_base_model
from app.base_models.tables import BaseModel, BaseModelStatus
from app.datasets.snapshot import Snapshot, freeze
from app.ids import new_id
from app.projects.service import hold_still
from app.projects.tables import Project
from app.runs import repository
from app.runs.context import check_longest_example, context_of, longest_example_of
from app.runs.continuing import begin_with_version, with_method_of
from app.runs.errors import (
    BaseModelGoneError,
    BaseModelNotReadyError,
    CannotContinueError,
    NoBaseModelError,
    NoExamplesError,
    UnknownRunError,
)
from app.runs.few_bits import check_few_bits
from app.runs.methods import METHODS, Method
from app.runs.objectives import OBJECTIVES, Objective
from app.runs.outlook import Known, devices_now, memory_needed, run_outlook
from app.runs.proposals import require_offer
from app.runs.queue.claiming import line_up
from app.runs.queue.needs import needs_of
from app.runs.recipe import (
    RECIPE_FILE,
    Continuation,
    FittedSettings,
    Preset,
    Recipe,
    RecipeChoices,
    fit_settings,
    up_to_date,
)
from app.runs.several_devices import divided_if_needed
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.durable import write_atomically
from app.storage.folders import Storage

_ORDINARY_CONTEXT: Final = 1024
_SMALLEST_ROOM_BYTES: Final = 64 * 1024**2
# Checkpoints hold what is trained and its optimizer's two moments in fp32; three are kept. In the
# end it is written once more.
_BYTES_PER_TRAINED_NUMBER: Final = 3 * 3 * 4 + 4
_NO_CHOICES: Final = RecipeChoices()


def chosen_base_model(session: Session, project: Project) -> BaseModel:
    """Return the base model that the project chose.

    Raises:
        NoBaseModelError: if it chose none, or one that is gone.
    """
    model = find_base_model(session, project)
    if model is None:
        raise NoBaseModelError
    return model


def find_base_model(session: Session, project: Project) -> BaseModel | None:
    return get_base_model(session, project.base_model_id) if project.base_model_id else None


def is_usable(model: BaseModel) -> bool:
    """Say whether a training could use a base model now."""
    try:
        check_usable(model)
    except (BaseModelNotReadyError, BaseModelGoneError):
        return False
    return True


def check_usable(model: BaseModel) -> None:
    """Raise BaseModelNotReadyError or BaseModelGoneError if no training could use it now."""
    if model.status != BaseModelStatus.READY or not model.folder or not model.fingerprint:
        raise BaseModelNotReadyError(model.name)
    if not Path(model.folder, "config.json").is_file():
        raise BaseModelGoneError(model.name)


def settings_for(
    model: BaseModel, preset: Preset, train_count: int, choices: RecipeChoices = _NO_CHOICES
) -> FittedSettings:
    """Return what the rules choose for a base model, an amount of data, and a chosen method."""
    return fit_settings(
        preset,
        train_count,
        base_parameters(model),
        context_of(model) or _ORDINARY_CONTEXT,
        choices.method or Method.LORA,
        choices.method_settings,
        choices.objective,
    )


def base_parameters(model: BaseModel) -> int:
    return int(model.facts.get("parameters") or 0)


@dataclass(frozen=True)
class FrozenExamples:
    """What a run will learn from, in the folder of the run that is to come."""

    run_id: str
    folder: Path
    snapshot: Snapshot
    continues_from: Continuation | None = None


def freeze_examples(
    session: Session,
    storage: Storage,
    project_id: str,
    base_model: BaseModel,
    objective: Objective = Objective.ANSWERS,
    start_from: int | None = None,
) -> FrozenExamples:
    """Write the examples that serve an objective into a new run's folder; only read the database.

    With many examples this takes seconds, so whoever can does it before the transaction that
    writes: on SQLite everyone else who writes waits for that one. If nothing comes of the run, the
    sweeper finds its folder.

    Args:
        session: only reads.
        storage: where runs have their folders.
        project_id: the project.
        base_model: what learns.
        objective: what is learned.
        start_from: the version that the run goes on from, if it does.

    Raises:
        NoExamplesError: if the project has no examples.
        CannotContinueError: if that version cannot be gone on from.
        NothingForObjectiveError: if none of them serves the objective.
        BaseModelNotReadyError, BaseModelGoneError: if the base model cannot be used now.
        DiskFullError: if there is hardly any room left.
    """
    check_usable(base_model)
    storage.require_room(_SMALLEST_ROOM_BYTES)
    require_offer(session, project_id, objective)
    run_id = new_id()
    folder = storage.folder("runs", run_id)
    try:
        snapshot = freeze(session, project_id, folder, OBJECTIVES[objective].purpose)
        if snapshot.train_count == 0:
            raise NoExamplesError
        continuation = None
        if start_from is not None:
            if objective is not Objective.ANSWERS:
                raise CannotContinueError(
                    start_from, "It learned answers, and something else is to be learned now."
                )
            continuation, snapshot = begin_with_version(
                session, storage, project_id, base_model, start_from, folder
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FrozenExamples(run_id, folder, snapshot, continuation)


def start_run(
    session: Session,
    storage: Storage,
    project: Project,
    base_model: BaseModel,
    preset: Preset,
    choices: RecipeChoices,
    user: User | None,
    frozen: FrozenExamples | None = None,
) -> Run:
    """Freeze the recipe, and queue a run that makes the next version.

    Examples that are not frozen yet are frozen in this transaction.

    Raises:
        NoExamplesError: if the project has no examples.
        UnknownProjectError: if the project was deleted meanwhile.
        BaseModelNotReadyError, BaseModelGoneError: if the base model cannot be used now.
        MethodNotInFewBitsError, FewBitsNotHereError: if it cannot be held in as few bits.
        ExampleTooLongError: if examples are to be longer than what it reads at once.
        DiskFullError: if there is no room for the run's checkpoints.
    """
    frozen = frozen or freeze_examples(
        session, storage, project.id, base_model, choices.objective, choices.start_from
    )
    folder, snapshot = frozen.folder, frozen.snapshot
    run = Run(id=frozen.run_id, requested_by_id=user.id if user else None, event_count=0)
    try:
        project = hold_still(session, project.id)
        start = frozen.continues_from
        choices = with_method_of(session, project.id, choices, start.version if start else None)
        check_few_bits(choices, devices_now(session))
        recipe = make_recipe(base_model, preset, choices, snapshot, start)
        recipe = divided_if_needed(session, base_model, project.id, recipe, snapshot)
        storage.require_room(_room_for(recipe, base_model))
        write_atomically(folder / RECIPE_FILE, recipe.model_dump_json(indent=2).encode())
        _queue(session, run, project, recipe, base_model, snapshot)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


def start_again(
    session: Session,
    storage: Storage,
    run: Run,
    user: User | None,
    frozen: FrozenExamples | None = None,
) -> Run:
    """Start a new run with the settings of an earlier one, on the examples as they are now."""
    # Only what a person may choose is taken over, so a recipe of an earlier Tailor does as well.
    earlier = up_to_date(run.recipe)
    chosen = {name: earlier[name] for name in RecipeChoices.model_fields if name in earlier}
    model = base_model_of(session, run)
    # An earlier Tailor let examples be longer than what a base model reads.
    longest, most = chosen.get("max_tokens_per_example"), longest_example_of(session, run)
    if longest and most:
        chosen["max_tokens_per_example"] = min(most, int(longest))
    choices = RecipeChoices.model_validate(chosen | {"start_from": start_version(run)})
    project = hold_still(session, run.project_id)
    preset = Preset(run.recipe["preset"])
    return start_run(session, storage, project, model, preset, choices, user, frozen)


def start_version(run: Run) -> int | None:
    """Return the version that a run went on from, if it did."""
    before = run.recipe.get("continues_from")
    return int(before["version"]) if before else None


def base_model_of(session: Session, run: Run) -> BaseModel:
    """Return what a run started from, or raise NoBaseModelError if it is gone."""
    model = get_base_model(session, run.base_model_id)
    if model is None:
        raise NoBaseModelError
    return model


def find_run(session: Session, project: Project, run_id: str) -> Run:
    """Return a run of this project.

    Raises:
        UnknownRunError: if there is none, or it belongs to another project.
    """
    run = repository.of_project(session, project.id, run_id)
    if run is None:
        raise UnknownRunError
    return run


def runs_of(session: Session, project: Project) -> Sequence[Run]:
    return repository.all_of_project(session, project.id)


def _queue(
    session: Session,
    run: Run,
    project: Project,
    recipe: Recipe,
    model: BaseModel,
    snapshot: Snapshot,
) -> None:
    project.version_count += 1
    run.project_id = project.id
    run.version_number = project.version_count
    run.base_model_id = model.id
    run.recipe = recipe.model_dump(mode="json")
    run.snapshot_sha256 = snapshot.sha256
    run.train_count = snapshot.train_count
    run.validation_count = snapshot.validation_count
    outlook = run_outlook(
        Known.of(session, project.id, [model]),
        model,
        recipe,
        recipe.objective,
        snapshot.train_count,
        snapshot.validation_count,
        recipe.devices,
    )
    run.expected_seconds = outlook.seconds
    run.promise = outlook.as_promise()
    needs = needs_of(recipe, memory_needed(model, recipe, outlook))
    run.needs_kind, run.needs_memory_bytes = needs.kind, needs.memory_bytes
    run.needs_devices = needs.devices
    run.needs_bits = needs.bits
    line_up(session, run)
    repository.add(session, run)
    repository.add_event(session, run, "status", {"status": RunStatus.QUEUED})


def make_recipe(
    model: BaseModel,
    preset: Preset,
    choices: RecipeChoices,
    snapshot: Snapshot,
    continues_from: Continuation | None = None,
) -> Recipe:
    """Return the recipe that the rules and an expert's choices make together.

    Raises:
        ExampleTooLongError: if examples are to be longer than what the base model reads at once.
    """
    fitted = settings_for(model, preset, snapshot.train_count, choices)
    asked = choices.max_tokens_per_example
    check_longest_example(model, asked, fitted.method, fitted.method_settings)
    # The method's settings are all in what was fitted: those that were chosen, and what follows.
    chosen = choices.model_dump(
        exclude_none=True, exclude={"method", "method_settings", "start_from"}
    )
    settings = fitted.model_dump() | chosen
    return Recipe(
        preset=preset,
        base_model_id=model.id,
        base_model_name=model.name,
        base_model_folder=Path(model.folder or ""),
        base_model_fingerprint=model.fingerprint or "",
        snapshot_sha256=snapshot.sha256,
        continues_from=continues_from,
        **settings,
    )


def _room_for(recipe: Recipe, model: BaseModel) -> int:
    """Return the bytes that a run's checkpoints will take."""
    share = METHODS[recipe.method].trained_share(recipe.method_settings)
    trained = base_parameters(model) * share
    return _SMALLEST_ROOM_BYTES + int(trained * _BYTES_PER_TRAINED_NUMBER)
