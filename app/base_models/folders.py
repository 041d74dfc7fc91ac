"""Folders on the server that an administrator registers as base models."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from app.audit.service import Action, Thing, record
from app.base_models import repository
from app.base_models.errors import (
    FolderKnownError,
    FolderNotAllowedError,
    NotAFullPathError,
    UnusableFolderError,
)
from app.base_models.files import UnreadableModelError, model_files
from app.base_models.safety import check_folder
from app.base_models.tables import BaseModel, BaseModelStatus
from app.jobs import CHECK_BASE_MODEL, send_after_commit
from app.settings import Settings
from app.text import one_line

_LONGEST_NAME = 200
_LONGEST_LICENCE = 100
_LONGEST_PATH = 1000


def register_folder(
    session: Session, settings: Settings, path: str, name: str, licence: str, user_id: str
) -> BaseModel:
    """Register a folder as a base model; it is not copied, and it is checked like any other.

    Raises:
        NotAFullPathError: if the path is not a full one.
        FolderNotAllowedError: if it lies, or leads, outside of what the host allows.
        UnusableFolderError: if it holds no model that Tailor can read.
        FolderKnownError: if it is registered already.
    """
    folder = _resolved(path)
    roots = [root.resolve() for root in settings.model_folders]
    _require_allowed(folder, roots)
    _require_usable(folder, roots)
    repository.one_at_a_time(session, f"base model {folder}")
    known = repository.by_folder(session, str(folder))
    if known is not None:
        raise FolderKnownError(known.name)
    model = BaseModel(
        source="folder",
        name=one_line(name, _LONGEST_NAME) or folder.name[:_LONGEST_NAME],
        folder=str(folder),
        facts={"licence": one_line(licence, _LONGEST_LICENCE)},
        status=BaseModelStatus.FETCHED,
        created_by_id=user_id,
    )
    repository.add(session, model)
    record(session, Action.FOLDER_REGISTERED, Thing("base model", model.id, model.name))
    send_after_commit(session, CHECK_BASE_MODEL, model.id)
    return model


def _resolved(path: str) -> Path:
    path = path.strip()
    if not path.startswith("/") or "\0" in path or len(path) > _LONGEST_PATH:
        raise NotAFullPathError
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError) as error:
        raise NotAFullPathError from error


def _require_allowed(path: Path, roots: Sequence[Path]) -> None:
    if roots and not any(path.is_relative_to(root) for root in roots):
        raise FolderNotAllowedError(", ".join(map(str, roots)))


def _require_usable(folder: Path, roots: Sequence[Path]) -> None:
    try:
        check_folder(folder)
        for file in model_files(folder):
            # A link in an allowed folder must not lead out of it.
            _require_allowed(file.resolve(), roots)
    except UnreadableModelError as error:
        raise UnusableFolderError(error.what, error.why, error.next_step) from error
    except OSError as error:
        raise UnusableFolderError(
            "This folder cannot be read.",
            "Tailor runs as a user without the right to look into it, or the disk failed.",
            "Ask the person who runs Tailor to give it the right to read.",
        ) from error
