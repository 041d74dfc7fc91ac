"""Training on from an earlier version: its weights are where the new run begins.

The earlier version stays as it is. The new run takes a copy of its weights into its own folder, and
sees all examples, old and new. What the earlier version, or one that it went on from, has learned
is never held out: it would look better than it is.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.datasets.snapshot import (
    DATA_FOLDER,
    DIGEST_FILE,
    TRAIN_FILE,
    VALIDATION_FILE,
    Snapshot,
)
from app.projects.tables import Project
from app.runs import repository
from app.runs.errors import CannotContinueError
from app.runs.methods import METHODS, Method
from app.runs.objectives import Objective
from app.runs.recipe import START_FOLDER, Continuation, RecipeChoices, up_to_date
from app.runs.result_files import ADAPTER_WEIGHTS
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.durable import durable_file, file_sha256, sync_folder, write_atomically
from app.storage.folders import Storage

CONTINUABLE: Final = (
    Method.LORA,
    Method.RSLORA,
    Method.DORA,
    Method.LORA_PLUS,
    Method.LOHA,
    Method.LOKR,
    Method.IA3,
)
"""Methods whose saved weights are all that a new run needs to begin with."""
_ADAPTER_FOLDER: Final = "adapter"


def startable_versions(
    session: Session, project: Project, base_model: BaseModel | None, objective: Objective
) -> list[Run]:
    """Return the runs whose versions a training with base model and objective can go on from."""
    if base_model is None or objective is not Objective.ANSWERS:
        return []
    runs = repository.all_of_project(session, project.id)
    return [run for run in runs if not _obstacle(run, base_model)]


def can_be_continued(run: Run, base_model: BaseModel | None) -> bool:
    """Say whether a training with this base model can go on from a run's version."""
    return base_model is not None and not _obstacle(run, base_model)


def begin_with_version(
    session: Session,
    storage: Storage,
    project_id: str,
    base_model: BaseModel,
    version: int,
    folder: Path,
) -> tuple[Continuation, Snapshot]:
    """Copy a version's weights into a new run's folder, and see to it that nothing leaks.

    Args:
        session: it only reads.
        storage: where runs have their folders.
        project_id: the project.
        base_model: what the new run would start from.
        version: the number of the version that it is to go on from.
        folder: the new run's, with its examples frozen already.

    Returns:
        What the recipe keeps of it, and the examples as they are divided now.

    Raises:
        CannotContinueError: if that version cannot be gone on from.
    """
    run = repository.by_version(session, project_id, version)
    if run is None:
        raise CannotContinueError(version, "There is no such version in this project.")
    if why := _obstacle(run, base_model):
        raise CannotContinueError(version, why)
    sha256 = str((run.result or {})["adapter_sha256"])
    _copy_weights(storage.path("runs", run.id, _ADAPTER_FOLDER), folder, sha256, version)
    known = _learned_before(session, storage, project_id, run)
    snapshot, new, moved = _divide_again(folder, known)
    continuation = Continuation(
        version=version,
        adapter_sha256=sha256,
        new_examples=new,
        no_longer_held_out=moved,
    )
    return continuation, snapshot


def method_of(session: Session, project_id: str, version: int) -> tuple[Method, dict[str, Any]]:
    """Return with which method, and which settings of it, a version was trained."""
    run = repository.by_version(session, project_id, version)
    if run is None:
        raise CannotContinueError(version, "There is no such version in this project.")
    recipe = up_to_date(run.recipe)
    return Method(recipe.get("method", Method.LORA)), dict(recipe.get("method_settings", {}))


def with_method_of(
    session: Session, project_id: str, choices: RecipeChoices, version: int | None
) -> RecipeChoices:
    """Return the choices with the method of the version that is gone on from, if one is.

    Raises:
        CannotContinueError: if there is no such version.
    """
    if version is None:
        return choices
    method, settings = method_of(session, project_id, version)
    return choices.model_copy(update={"method": method, "method_settings": settings})


def _obstacle(run: Run, base_model: BaseModel) -> str:
    """Say why a version cannot be gone on from; empty if it can."""
    recipe = up_to_date(run.recipe)
    method = recipe.get("method", Method.LORA)
    if run.status != RunStatus.SUCCEEDED or not (run.result or {}).get("adapter_sha256"):
        return "Its training has not finished."
    if recipe.get("base_model_fingerprint") != base_model.fingerprint:
        return "It was trained on another base model than the one that is chosen now."
    if recipe.get("objective", Objective.ANSWERS) != Objective.ANSWERS:
        return "It learned something else than answers."
    if method not in CONTINUABLE:
        title = METHODS[Method(method)].title if method in list(Method) else str(method)
        return f"Its method, {title}, cannot be gone on from."
    return ""


def _copy_weights(adapter: Path, folder: Path, sha256: str, version: int) -> None:
    start = folder / START_FOLDER
    start.mkdir(mode=0o700, exist_ok=True)
    try:
        shutil.copyfile(adapter / ADAPTER_WEIGHTS, start / ADAPTER_WEIGHTS)
        if file_sha256(start / ADAPTER_WEIGHTS) != sha256:
            raise CannotContinueError(version, "Its files are not what they were.")
    except FileNotFoundError as error:
        raise CannotContinueError(version, "Its files are gone.") from error
    sync_folder(start)


def _learned_before(session: Session, storage: Storage, project_id: str, run: Run) -> set[bytes]:
    """Return the digests of all examples that a version, and those before it, learned from."""
    known: set[bytes] = set()
    seen: set[str] = set()
    earlier: Run | None = run
    while earlier is not None and earlier.id not in seen:
        seen.add(earlier.id)
        path = storage.path("runs", earlier.id) / DATA_FOLDER / TRAIN_FILE
        known.update(_digest(line) for line in _lines(path))
        before = earlier.recipe.get("continues_from")
        earlier = (
            repository.by_version(session, project_id, int(before["version"]))
            if isinstance(before, Mapping)
            else None
        )
    return known


def _divide_again(folder: Path, known: set[bytes]) -> tuple[Snapshot, int, int]:
    """Let what was learned before be learned again instead of held out.

    Returns:
        The new snapshot, how many examples to learn from are new, and how many were moved.
    """
    data = folder / DATA_FOLDER
    held_out = list(_lines(data / VALIDATION_FILE))
    moved = [line for line in held_out if _digest(line) in known]
    kept = [line for line in held_out if _digest(line) not in known]
    digest, count, new = hashlib.sha256(), 0, 0
    (data / DIGEST_FILE).unlink(missing_ok=True)
    with durable_file(data / f"{TRAIN_FILE}.new") as train:
        for line in _both(data, moved):
            train.write(line)
            digest.update(line)
            count += 1
            new += _digest(line) not in known
    with durable_file(data / f"{VALIDATION_FILE}.new") as validation:
        for line in kept:
            validation.write(line)
            digest.update(line)
    for name in (TRAIN_FILE, VALIDATION_FILE):
        (data / f"{name}.new").replace(data / name)
    write_atomically(data / DIGEST_FILE, f"{digest.hexdigest()}\n".encode())
    sync_folder(data)
    return Snapshot(digest.hexdigest(), count, len(kept)), new, len(moved)


def _both(data: Path, moved: list[bytes]) -> Iterator[bytes]:
    yield from _lines(data / TRAIN_FILE)
    yield from moved


def _lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        yield from file


def _digest(line: bytes) -> bytes:
    """Return the digest of what an example says, whatever its number in the database is."""
    content = json.loads(line)
    content.pop("id", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
