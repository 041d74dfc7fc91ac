"""What can be done with base models."""

from pathlib import Path
from re import fullmatch
from typing import Any, Final

from sqlalchemy.orm import Session

from app.base_models import repository
from app.base_models.description import write_description
from app.base_models.fetching import OfflineError
from app.base_models.files import fingerprint, read_shape
from app.base_models.safety import check_folder
from app.base_models.shelf import HUB_ID_PATTERN, ShelfModel
from app.base_models.tables import BaseModel, BaseModelStatus
from app.clock import now
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.jobs import CHECK_BASE_MODEL, FETCH_BASE_MODEL, send_after_commit
from app.settings import Settings
from app.storage.folders import Storage

STARTER_ID: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).resolve().parent / "starter"

BUSY: Final = (
    BaseModelStatus.WAITING,
    BaseModelStatus.DOWNLOADING,
    BaseModelStatus.FETCHED,
    BaseModelStatus.CHECKING,
)
"""Statuses in which a worker is at it, or will be."""


def register_built_in(session: Session, storage: Storage) -> BaseModel:
    """Put Tailor Starter on the shelf, or bring its row up to date after an upgrade."""
    model = repository.get(session, STARTER_ID)
    if model is None:
        model = BaseModel(id=STARTER_ID, source="builtin", name="Tailor Starter", facts={})
        repository.add(session, model)
    shape = read_shape(STARTER_FOLDER)
    model.folder = str(STARTER_FOLDER)
    model.fingerprint = fingerprint(STARTER_FOLDER)
    model.status = BaseModelStatus.READY
    model.facts = {
        "licence": "Apache-2.0",
        "languages": "Simple English",
        "parameters": shape.parameters,
        "context_length": shape.context_length,
        "architecture": shape.architecture,
        "memory": "Trains on any machine, without a graphics card.",
        "summary": "A practice model that comes with Tailor. It knows simple English about shops "
        "and offices, makes mistakes, and learns your examples in a minute or two.",
    }
    session.flush()
    write_description(storage, model)
    return model


def find(session: Session, base_model_id: str) -> BaseModel:
    """Return a base model.

    Raises:
        NotFoundError: if there is none with this id.
    """
    model = repository.get(session, base_model_id)
    if model is None:
        raise NotFoundError("This base model does not exist.")
    return model


def download_from_shelf(
    session: Session, settings: Settings, entry: ShelfModel, user_id: str
) -> BaseModel:
    """Ask for a download, or take up one that was stopped."""
    facts = entry.model_dump(exclude={"slug", "name", "hub_id", "revision"})
    return _download(
        session, settings, entry.hub_id, entry.revision, entry.name, facts, user_id, entry.slug
    )


def download_from_hub(
    session: Session, settings: Settings, hub_id: str, revision: str, user_id: str
) -> BaseModel:
    """Ask for the download of any model on the hub.

    Raises:
        InvalidInputError: if the name or revision cannot be one of the hub's.
    """
    hub_id, revision = hub_id.strip().strip("/"), revision.strip()
    if not fullmatch(HUB_ID_PATTERN, hub_id):
        raise InvalidInputError(
            "This is not a model's name on the hub.",
            why="A name has two parts, such as Qwen/Qwen3-0.6B.",
            next_step="Copy it from the top of the model's page.",
            field="hub_id",
        )
    if revision and not fullmatch(r"[A-Za-z0-9][\w.-]{0,79}", revision):
        raise InvalidInputError(
            "This is not a revision.",
            why="A revision is a branch, a tag or a commit.",
            next_step="Leave it empty to take the newest.",
            field="revision",
        )
    return _download(
        session, settings, hub_id, revision or None, hub_id.split("/")[1], {}, user_id, None
    )


def _download(
    session: Session,
    settings: Settings,
    hub_id: str,
    revision: str | None,
    name: str,
    facts: dict[str, Any],
    user_id: str,
    slug: str | None,
) -> BaseModel:
    if settings.offline:
        raise OfflineError
    model = repository.by_hub_id(session, hub_id)
    if model is None or (revision and model.revision not in {revision, None}):
        model = BaseModel(
            source="hub",
            hub_id=hub_id,
            revision=revision,
            name=name,
            shelf_slug=slug,
            facts=facts,
            total_bytes=int(facts.get("size_bytes", 0)),
            created_by_id=user_id,
        )
        repository.add(session, model)
    if model.status is BaseModelStatus.READY or model.status in BUSY[1:]:
        return model
    model.status = BaseModelStatus.WAITING
    model.problem = None
    model.cancel_requested_at = None
    model.attempts = 0
    session.flush()
    send_after_commit(session, FETCH_BASE_MODEL, model.id)
    return model


def stop_download(session: Session, model: BaseModel) -> None:
    """Stop a download; what is here already is kept for the next time."""
    if model.status is BaseModelStatus.WAITING and model.lease_owner is None:
        model.status = BaseModelStatus.CANCELLED
    elif model.status in BUSY:
        model.cancel_requested_at = now()
    session.flush()


def check_again(session: Session, model: BaseModel) -> None:
    """Check a model whose files lie there once more."""
    if model.folder is None or model.status in BUSY:
        return
    model.status = BaseModelStatus.FETCHED
    model.problem = None
    model.attempts = 0
    session.flush()
    send_after_commit(session, CHECK_BASE_MODEL, model.id)


def register_folder(
    session: Session, settings: Settings, path: str, name: str, licence: str, user_id: str
) -> BaseModel:
    """Register a folder on the server as a base model. For administrators alone.

    Raises:
        InvalidInputError: if the folder lies outside of what the host allows.
        UnreadableModelError: if it holds no model that Tailor can read.
        ConflictError: if it is registered already.
    """
    folder = Path(path.strip()).expanduser()
    if not path.strip() or not folder.is_absolute():
        raise InvalidInputError(
            "This is not a full path.",
            why="A full path begins at the root, such as /srv/models/my-model.",
            next_step="Enter the full path of the folder on the server.",
            field="path",
        )
    folder = folder.resolve()
    allowed = [root.resolve() for root in settings.model_folders]
    if allowed and not any(folder.is_relative_to(root) for root in allowed):
        raise InvalidInputError(
            "This folder is not among those that may hold base models.",
            why="The host allows only: " + ", ".join(map(str, allowed)) + ".",
            next_step="Move the model there, or ask for TAILOR_MODEL_FOLDERS to be widened.",
            field="path",
        )
    check_folder(folder)
    if repository.by_folder(session, str(folder)) is not None:
        raise ConflictError(
            "This folder is registered already.", next_step="You find it in the list below."
        )
    model = BaseModel(
        source="folder",
        name=name.strip() or folder.name,
        folder=str(folder),
        facts={"licence": licence.strip()},
        status=BaseModelStatus.FETCHED,
        created_by_id=user_id,
    )
    repository.add(session, model)
    send_after_commit(session, CHECK_BASE_MODEL, model.id)
    return model


def pending_base_models(session: Session) -> list[tuple[str, str]]:
    """Return (job, id) of all that wait for a worker; the sweeper sends them again."""
    fetch = repository.unclaimed(session, BaseModelStatus.WAITING, BaseModelStatus.DOWNLOADING)
    check = repository.unclaimed(session, BaseModelStatus.FETCHED, BaseModelStatus.CHECKING)
    return [(FETCH_BASE_MODEL, entry) for entry in fetch] + [
        (CHECK_BASE_MODEL, entry) for entry in check
    ]
