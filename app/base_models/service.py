"""What can be done with base models."""

import logging
import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.service import Action, Thing, record
from app.base_models import repository
from app.base_models.description import write_description
from app.base_models.errors import (
    BuiltInError,
    BusyError,
    InUseError,
    MissingNameError,
    NotAHubNameError,
    NotARevisionError,
    NotReadyError,
    UnknownBaseModelError,
)
from app.base_models.fetching import OfflineError
from app.base_models.files import fingerprint, model_files, read_measures, read_shape
from app.base_models.shelf import HUB_ID_PATTERN, ShelfModel
from app.base_models.tables import BaseModel, BaseModelStatus
from app.base_models.transformer_shape import SHAPE_FACT
from app.clock import now
from app.database.session import after_commit
from app.jobs import CHECK_BASE_MODEL, FETCH_BASE_MODEL, send_after_commit
from app.settings import REPOSITORY_ROOT, Settings
from app.storage.folders import Storage
from app.text import one_line

logger = logging.getLogger(__name__)

STARTER_ID: Final = "starter"
STARTER_FOLDER: Final = REPOSITORY_ROOT / "app" / "base_models" / "starter"
BUSY: Final = (
    BaseModelStatus.WAITING,
    BaseModelStatus.DOWNLOADING,
    BaseModelStatus.FETCHED,
    BaseModelStatus.CHECKING,
)
"""Statuses in which a worker is at it, or will be."""
_ASKED_REVISION: Final = "asked_revision"
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_LONGEST_NAME: Final = 200


def register_built_in(session: Session, storage: Storage) -> BaseModel:
    """Put Tailor Starter on the shelf, or bring its row up to date after an upgrade."""
    model = repository.get(session, STARTER_ID)
    if model is None:
        model = BaseModel(id=STARTER_ID, source="builtin", name="Tailor Starter", facts={})
        repository.add(session, model)
    shape, measures = read_shape(STARTER_FOLDER), read_measures(STARTER_FOLDER)
    model.folder = str(STARTER_FOLDER)
    model.fingerprint = fingerprint(STARTER_FOLDER)
    model.status = BaseModelStatus.READY
    model.total_bytes = sum(path.stat().st_size for path in model_files(STARTER_FOLDER))
    model.downloaded_bytes = model.total_bytes
    model.facts = {
        "licence": "Apache-2.0",
        "languages": "Simple English",
        "parameters": shape.parameters,
        "context_length": shape.context_length,
        "architecture": shape.architecture,
        **({SHAPE_FACT: measures.as_fact()} if measures else {}),
        "memory": "Trains on any machine, without a graphics card.",
        "summary": "A practice model that comes with Tailor. It knows simple English about shops "
        "and offices, makes mistakes, and learns your examples in a minute or two.",
    }
    session.flush()
    write_description(storage, model)
    return model


def find(session: Session, base_model_id: str) -> BaseModel:
    """Return a base model, or raise UnknownBaseModelError."""
    model = repository.get(session, base_model_id)
    if model is None:
        raise UnknownBaseModelError
    return model


def find_ready(session: Session, base_model_id: str) -> BaseModel:
    """Return a base model that can be trained.

    Raises:
        UnknownBaseModelError: if there is none with this id.
        NotReadyError: if it is not downloaded and checked.
    """
    model = find(session, base_model_id)
    if model.status != BaseModelStatus.READY:
        raise NotReadyError(model.name)
    return model


def all_models(session: Session) -> Sequence[BaseModel]:
    """Return every base model that Tailor knows, the oldest first."""
    return repository.all_models(session)


def download_from_shelf(
    session: Session, settings: Settings, entry: ShelfModel, user_id: str
) -> BaseModel:
    """Ask for a download, or take up one that was stopped."""
    facts = entry.model_dump(exclude={"slug", "name", "hub_id", "revision"})
    model = BaseModel(
        hub_id=entry.hub_id,
        revision=entry.revision,
        name=entry.name,
        shelf_slug=entry.slug,
        facts=facts,
        total_bytes=entry.size_bytes,
        created_by_id=user_id,
    )
    return _download(session, settings, model)


def download_from_hub(
    session: Session, settings: Settings, hub_id: str, revision: str, user_id: str
) -> BaseModel:
    """Ask for the download of any model on the hub.

    Raises:
        NotAHubNameError: if the name cannot be one of the hub's.
        NotARevisionError: if the revision cannot be one.
        OfflineError: if the host switched the hub off.
    """
    hub_id, revision = hub_id.strip().strip("/"), revision.strip()
    if not re.fullmatch(HUB_ID_PATTERN, hub_id, re.ASCII):
        raise NotAHubNameError
    if revision and not _REVISION.fullmatch(revision):
        raise NotARevisionError
    model = BaseModel(
        hub_id=hub_id,
        revision=revision or None,
        name=hub_id.split("/")[1],
        facts={},
        created_by_id=user_id,
    )
    return _download(session, settings, model)


def _download(session: Session, settings: Settings, wanted: BaseModel) -> BaseModel:
    if settings.offline:
        raise OfflineError
    repository.one_at_a_time(session, f"base model {wanted.hub_id}")
    model = _same_as(repository.of_hub(session, str(wanted.hub_id)), wanted.revision)
    if model is None:
        wanted.source = "hub"
        # The row's revision becomes the commit; what was asked for is kept beside it.
        wanted.facts = {**wanted.facts, _ASKED_REVISION: wanted.revision}
        repository.add(session, wanted)
        model = wanted
    if model.status != BaseModelStatus.READY:
        continue_download(session, settings, model)
        record(session, Action.DOWNLOAD_ASKED, thing(model))
    return model


def thing(model: BaseModel) -> Thing:
    """Return the model as a row about what happened speaks of it."""
    return Thing("base model", model.id, model.name)


def _same_as(known: Sequence[BaseModel], revision: str | None) -> BaseModel | None:
    for model in known:
        if model.facts.get(_ASKED_REVISION) == revision:
            return model
        if revision is not None and model.revision == revision:
            return model
    return None


def continue_download(session: Session, settings: Settings, model: BaseModel) -> None:
    """Take up a download that was stopped or that failed; what is here already is kept.

    Raises:
        OfflineError: if the host switched the hub off.
    """
    if settings.offline:
        raise OfflineError
    if model.source != "hub" or model.status in BUSY[1:]:
        return
    model.status = BaseModelStatus.WAITING
    model.problem = None
    model.cancel_requested_at = None
    model.attempts = 0
    session.flush()
    send_after_commit(session, FETCH_BASE_MODEL, model.id)


def stop(session: Session, model: BaseModel) -> None:
    """Stop a download or a check; what is here already is kept for the next time."""
    if model.status not in BUSY:
        return
    # Both at once: should a worker claim the row this very moment, it sees the wish.
    model.cancel_requested_at = now()
    if model.lease_owner is None:
        model.status = BaseModelStatus.CANCELLED
    session.flush()


def try_again(session: Session, settings: Settings, model: BaseModel) -> None:
    """Do once more what was stopped or failed: fetch what is missing, or check what lies there."""
    if model.source == "hub" and not (settings.offline and model.folder):
        continue_download(session, settings, model)
    else:
        check_again(session, model)


def check_again(session: Session, model: BaseModel) -> None:
    """Check a model whose files lie there once more."""
    if model.folder is None or model.source == "builtin" or model.status in BUSY:
        return
    model.status = BaseModelStatus.FETCHED
    model.problem = None
    model.cancel_requested_at = None
    model.attempts = 0
    session.flush()
    send_after_commit(session, CHECK_BASE_MODEL, model.id)


def rename(session: Session, storage: Storage, model: BaseModel, name: str) -> None:
    """Give a model another name.

    Raises:
        MissingNameError: if nothing was typed.
    """
    name = one_line(name, _LONGEST_NAME)
    if not name:
        raise MissingNameError
    model.name = name
    session.flush()
    if model.status == BaseModelStatus.READY:
        write_description(storage, model)


def delete(session: Session, storage: Storage, model: BaseModel) -> None:
    """Delete a model; downloaded files go after the commit, a registered folder stays as it is.

    Raises:
        BuiltInError: for Tailor Starter.
        BusyError: while a worker is at it.
        InUseError: while runs or versions refer to it; app/adapters/uses.py says which ones.
    """
    if model.source == "builtin":
        raise BuiltInError
    if model.status in BUSY:
        raise BusyError(model.name)
    deleted = thing(model)
    try:
        with session.begin_nested():
            repository.remove(session, model)
    except IntegrityError as error:
        # Runs and versions refer to their base model; the database knows them, this concept
        # does not.
        raise InUseError(deleted.name) from error
    record(session, Action.BASE_MODEL_DELETED, deleted)

    def remove_files() -> None:
        try:
            storage.remove("models", deleted.id)
        except OSError:
            logger.exception("The files of base model %s are left over.", deleted.id)

    after_commit(session, remove_files)


def pending_base_models(session: Session) -> list[tuple[str, str]]:
    """Return (job, id) of all that wait for a worker; the sweeper sends them again."""
    fetch = repository.unclaimed(session, BaseModelStatus.WAITING, BaseModelStatus.DOWNLOADING)
    check = repository.unclaimed(session, BaseModelStatus.FETCHED, BaseModelStatus.CHECKING)
    return [(FETCH_BASE_MODEL, entry) for entry in fetch] + [
        (CHECK_BASE_MODEL, entry) for entry in check
    ]
