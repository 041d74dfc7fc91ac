"""Fetch a base model from the hub: real bytes, resumable, cancellable, checked by its sums."""

import hashlib
import os
import threading
from pathlib import Path

from sqlalchemy import Engine

from app.base_models import repository
from app.base_models.files import read_json
from app.base_models.holding import HeldModel, claim_model, work_on
from app.base_models.hub import Hub, HubError, HubFile, HubRefusedError, HubRepository
from app.base_models.safety import check_configuration
from app.base_models.secrets import HUB_TOKEN, read_secret
from app.base_models.tables import BaseModelStatus
from app.database.session import transaction
from app.errors import UnavailableError
from app.jobs import CHECK_BASE_MODEL, send_after_commit
from app.settings import Settings, get_settings
from app.storage.folders import Storage

_TRIES = 4
_ROOM_TO_SPARE_BYTES = 256 * 1024**2


class OfflineError(UnavailableError):
    """The host switched the hub off."""

    def __init__(self) -> None:
        super().__init__(
            "This Tailor is set to work offline, so nothing can be downloaded.",
            why="TAILOR_OFFLINE is true.",
            next_step="Use Tailor Starter or a folder on the server, or ask the host.",
        )


class DamagedFileError(HubError):
    """What came is not what the hub had announced."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} arrived damaged.",
            why="Its content does not fit the sum that the hub gives for it.",
            next_step="Try again; the damaged file was removed.",
        )


def fetch_base_model(engine: Engine, storage: Storage, base_model_id: str, owner: str) -> None:
    """Job: download what is missing of a base model, then ask for its check."""
    held = claim_model(
        engine, base_model_id, owner, BaseModelStatus.WAITING, BaseModelStatus.DOWNLOADING
    )
    if held is not None:
        work_on(held, lambda mine: _fetch(engine, storage, mine, get_settings()))


def _fetch(engine: Engine, storage: Storage, held: HeldModel, settings: Settings) -> None:
    if settings.offline:
        raise OfflineError
    with transaction(engine, read_only=True) as session:
        model = repository.get(session, held.id)
        token = read_secret(session, settings, storage, HUB_TOKEN)
    if model is None or model.hub_id is None:
        return
    folder = storage.folder("models", held.id, "files")
    hub = Hub(settings.hub_url, token)
    try:
        contents = hub.repository(model.hub_id, model.revision)
        held.beat(total_bytes=contents.total_bytes, revision=contents.commit)
        present = sum(_present_bytes(folder, file) for file in contents.files)
        storage.require_room(contents.total_bytes - present + _ROOM_TO_SPARE_BYTES)
        # The configuration is small and comes first: what is refused costs no gigabytes.
        for file in sorted(
            contents.files, key=lambda file: (file.name != "config.json", file.size)
        ):
            _fetch_with_patience(hub, contents, file, folder, held)
            if file.name.endswith("config.json"):
                check_configuration(file.name, read_json(folder / file.name))
    finally:
        hub.close()
    held.finish(
        act=lambda session: send_after_commit(session, CHECK_BASE_MODEL, held.id),
        status=BaseModelStatus.FETCHED,
        downloaded_bytes=contents.total_bytes,
        folder=str(folder),
        attempts=0,
    )


def _fetch_with_patience(
    hub: Hub, contents: HubRepository, file: HubFile, folder: Path, held: HeldModel
) -> None:
    """Fetch one file, starting again where it broke off when the connection fails."""
    pause = threading.Event()
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch_file(hub, contents, file, folder, held)
        except HubRefusedError:
            raise
        except HubError:
            if attempt == _TRIES:
                raise
            held.beat()
            pause.wait(2.0**attempt)
        else:
            return


def _fetch_file(
    hub: Hub, contents: HubRepository, file: HubFile, folder: Path, held: HeldModel
) -> None:
    target = folder / file.name
    if target.exists() and target.stat().st_size == file.size:
        return
    others = sum(_present_bytes(folder, other) for other in contents.files if other != file)
    part = target.with_name(file.name + ".part")
    start = part.stat().st_size if part.exists() else 0
    if start > file.size:
        part.unlink()
        start = 0
    if start < file.size or file.size == 0:
        with (
            hub.open_file(contents, file, start) as (begins, chunks),
            part.open("ab" if begins else "wb") as output,
        ):
            for chunk in chunks:
                output.write(chunk)
                held.beat(downloaded_bytes=others + output.tell())
            output.flush()
            os.fsync(output.fileno())
    if part.stat().st_size != file.size or not _sum_fits(part, file, held):
        part.unlink()
        raise DamagedFileError(file.name)
    part.replace(target)


def _present_bytes(folder: Path, file: HubFile) -> int:
    for path in (folder / file.name, folder / (file.name + ".part")):
        if path.exists():
            return path.stat().st_size
    return 0


def _sum_fits(path: Path, file: HubFile, held: HeldModel) -> bool:
    if file.sha256 is None:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(4 * 1024**2):
            digest.update(chunk)
            held.beat()
    return digest.hexdigest() == file.sha256
