"""Fetch a base model from the hub: real bytes, resumable, cancellable, checked by its sums."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from app.base_models import repository
from app.base_models.files import read_json
from app.base_models.holding import HeldModel, Outcome, claim_model, work_on
from app.base_models.hub import Hub, HubError, HubFile, HubRefusedError, HubRepository
from app.base_models.safety import check_configuration, is_checked_by_content
from app.base_models.secrets import HUB_TOKEN, read_secret
from app.base_models.speed import Speed
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from app.errors import NotFoundError, UnavailableError
from app.jobs import CHECK_BASE_MODEL
from app.settings import Settings, get_settings
from app.storage.durable import sync_file, sync_folder
from app.storage.folders import Storage

SPEED_FACT = "bytes_per_second"
_TRIES = 4
_ROOM_TO_SPARE_BYTES = 256 * 1024**2
# Written through to the disk in between, so that the end of a large file is no long silence.
_SYNC_EVERY_BYTES = 512 * 1024**2


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
            why="Its content does not fit the size or the sum that the hub gives for it.",
            next_step="Try again; the damaged file was removed.",
        )


def fetch_base_model(
    engine: Engine,
    storage: Storage,
    base_model_id: str,
    owner: str,
    settings: Settings | None = None,
) -> None:
    """Job: download what is missing of a base model, then ask for its check."""
    held = claim_model(
        engine, base_model_id, owner, BaseModelStatus.WAITING, BaseModelStatus.DOWNLOADING
    )
    if held is not None:
        work_on(held, lambda mine: _fetch(engine, storage, mine, settings or get_settings()))


def _fetch(engine: Engine, storage: Storage, held: HeldModel, settings: Settings) -> Outcome:
    if settings.offline:
        raise OfflineError
    with transaction(engine, read_only=True) as session:
        model = repository.get(session, held.id)
        token = read_secret(session, settings, storage, HUB_TOKEN)
    if model is None or model.hub_id is None:
        raise NotFoundError("This base model does not exist.")
    folder = storage.folder("models", held.id, "files")
    with (
        _alone_in(folder.parent, held),
        closing(Hub(settings.hub_url, token, held.look_up)) as hub,
    ):
        contents = hub.repository(model.hub_id, model.revision)
        facts = _facts(model, contents)
        # The commit is kept at once: a download that goes on later goes on with the same files.
        held.write(total_bytes=contents.total_bytes, revision=contents.commit, facts=facts)
        download = _Download(hub, contents, folder, held, facts)
        storage.require_room(contents.total_bytes - download.present() + _ROOM_TO_SPARE_BYTES)
        download.run()
    return Outcome(
        {
            "status": BaseModelStatus.FETCHED,
            "downloaded_bytes": contents.total_bytes,
            "folder": str(folder),
            "facts": facts,
        },
        next_job=CHECK_BASE_MODEL,
    )


def _facts(model: BaseModel, contents: HubRepository) -> dict[str, object]:
    facts = {key: value for key, value in model.facts.items() if key != SPEED_FACT}
    if contents.licence and not facts.get("licence"):
        facts["licence"] = contents.licence
    return facts


@contextmanager
def _alone_in(folder: Path, held: HeldModel) -> Iterator[None]:
    """Wait until no one else on this machine writes there.

    A worker that slept past its lease may write for another moment; two writers would spoil the
    file that both go on with.
    """
    with (folder / ".lock").open("wb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.rest(0.5)
            else:
                break
        yield


class _Download:
    """All files of one commit into one folder."""

    def __init__(
        self,
        hub: Hub,
        contents: HubRepository,
        folder: Path,
        held: HeldModel,
        facts: dict[str, object],
    ) -> None:
        self._hub = hub
        self._contents = contents
        self._folder = folder
        self._held = held
        self._facts = facts
        self._speed = Speed()

    def present(self) -> int:
        """Bytes that lie here already."""
        return sum(map(self._present, self._contents.files))

    def run(self) -> None:
        # What may be refused is small and comes first: a refusal costs no gigabytes.
        for file in sorted(
            self._contents.files, key=lambda file: (file.name != "config.json", file.size)
        ):
            self._fetch_with_patience(file)
            if is_checked_by_content(file.name):
                check_configuration(file.name, read_json(self._folder / file.name))
        sync_folder(self._folder)

    def _fetch_with_patience(self, file: HubFile) -> None:
        """Fetch one file, going on where it broke off for as long as each try brings bytes."""
        vain_tries = damaged = 0
        while True:
            before = self._present(file)
            try:
                self._fetch(file)
            except HubRefusedError:
                raise
            except DamagedFileError:
                damaged += 1
                if damaged > 1:
                    raise
            except HubError:
                vain_tries = 1 if self._present(file) > before else vain_tries + 1
                if vain_tries == _TRIES:
                    raise
                self._held.rest(2.0**vain_tries)
            else:
                return

    def _fetch(self, file: HubFile) -> None:
        target = self._folder / file.name
        if target.exists() and target.stat().st_size == file.size:
            return
        part = _part(target)
        start = part.stat().st_size if part.exists() else 0
        if start < file.size:
            self._fetch_rest(file, part, start)
        elif file.size == 0:
            part.touch()
        if part.stat().st_size != file.size or not self._sum_fits(part, file):
            part.unlink()
            raise DamagedFileError(file.name)
        part.replace(target)

    def _fetch_rest(self, file: HubFile, part: Path, start: int) -> None:
        others = self.present() - self._present(file)
        with (
            self._hub.open_file(self._contents, file, start) as (begins, chunks),
            part.open("ab" if begins else "wb") as output,
        ):
            written = synced = begins
            for chunk in chunks:
                written += len(chunk)
                if written > file.size:
                    break
                output.write(chunk)
                self._tell(others + written)
                if written - synced > _SYNC_EVERY_BYTES:
                    os.fdatasync(output.fileno())
                    synced = written
            sync_file(output)
        if written > file.size:
            part.unlink()
            raise DamagedFileError(file.name)
        if written < file.size:
            raise HubError(
                "The download broke off.",
                why="The hub ended the connection before the file was whole.",
                next_step="Continue; what is here already is kept.",
            )

    def _tell(self, present: int) -> None:
        rate = self._speed.after(present)
        # A try that brings bytes is no vain one, however often the machine is switched off.
        self._held.note(
            downloaded_bytes=present, attempts=0, facts={**self._facts, SPEED_FACT: rate}
        )

    def _present(self, file: HubFile) -> int:
        target = self._folder / file.name
        for path in (target, _part(target)):
            if path.exists():
                return min(path.stat().st_size, file.size)
        return 0

    def _sum_fits(self, path: Path, file: HubFile) -> bool:
        if file.sha256 is not None:
            digest, expected = hashlib.sha256(), file.sha256
        elif file.git_sha1 is not None:
            # git's own sum is not meant as a seal here; it finds what was damaged on the way.
            digest, expected = hashlib.sha1(usedforsecurity=False), file.git_sha1
            digest.update(f"blob {file.size}\0".encode())
        else:
            return True
        with path.open("rb") as content:
            while chunk := content.read(1024**2):
                digest.update(chunk)
                self._held.look_up()
        return digest.hexdigest() == expected


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")
