"""Put what is uploaded or pasted where a worker finds it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Self

from app.datasets.errors import NoFileError, UploadTooLargeError
from app.datasets.readers.problems import EmptyFileError
from app.ids import new_id
from app.sizes import filesize
from app.storage.durable import sync_file, sync_folder
from app.storage.folders import DiskFullError, Storage

SOURCE_FILE: Final = "source"
PASTED_NAME: Final = "Pasted text"
"""What stands in the place of a file's name where a text was pasted."""
_TEMPORARY_PREFIX: Final = "upload-"
_ABANDONED_SECONDS: Final = 3600
_ROOM_TO_KEEP: Final = 64 * 1024 * 1024


class IncomingFile:
    """A file that is arriving: counted, bounded, in the temporary folder until it is whole."""

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self.import_id = new_id()
        self.size = 0
        self._storage = storage
        self._max_bytes = max_bytes
        self._path = storage.path("tmp", f"{_TEMPORARY_PREFIX}{self.import_id}")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave nothing behind if anything at all went wrong."""
        if kind is not None:
            self.discard()

    def expect(self, announced_bytes: int) -> None:
        """Refuse early what is known to be too large for the limit or for the disk."""
        if announced_bytes > self._max_bytes:
            raise UploadTooLargeError(filesize(self._max_bytes))
        self._storage.require_room(announced_bytes + _ROOM_TO_KEEP)

    def open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=1024 * 1024)

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            UploadTooLargeError, DiskFullError
        """
        if self._file is None:
            raise ValueError("the file is not open")
        self.size += len(piece)
        if self.size > self._max_bytes:
            raise UploadTooLargeError(filesize(self._max_bytes))
        with _disk_full_as_sentence(self._storage, len(piece)):
            self._file.write(piece)

    def keep(self) -> None:
        """Make it durable and move it to its place."""
        if self._file is None:
            raise NoFileError
        if self.size == 0:
            raise EmptyFileError
        with _disk_full_as_sentence(self._storage, self.size):
            sync_file(self._file)
            self._file.close()
            folder = self._storage.folder("uploads", self.import_id)
            self._path.replace(folder / SOURCE_FILE)
            sync_folder(folder)

    def discard(self) -> None:
        """Leave nothing behind, wherever it had got to."""
        if self._file is not None and not self._file.closed:
            try:
                self._file.close()
            except OSError as error:
                # Closing writes what is still buffered; on a full disk that fails once more.
                if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                    raise
        self._path.unlink(missing_ok=True)
        remove_upload(self._storage, self.import_id)


def remove_upload(storage: Storage, import_id: str) -> None:
    """Delete an upload's folder, if it is there."""
    shutil.rmtree(storage.path("uploads", import_id), ignore_errors=True)


def remove_abandoned_uploads(storage: Storage) -> int:
    """Delete what a killed web process left in the temporary folder more than an hour ago."""
    removed = 0
    oldest = storage.moment() - _ABANDONED_SECONDS
    for path in storage.path("tmp").glob(f"{_TEMPORARY_PREFIX}*"):
        if _changed_at(path) < oldest:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def remove_orphaned_folders(storage: Storage, known_ids: set[str]) -> int:
    """Delete upload folders that are not known, once they are an hour old."""
    removed = 0
    oldest = storage.moment() - _ABANDONED_SECONDS
    for folder in storage.path("uploads").iterdir():
        if folder.name not in known_ids and _changed_at(folder) < oldest:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


@contextmanager
def _disk_full_as_sentence(storage: Storage, needed_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise DiskFullError(needed_bytes, storage.free_bytes()) from error
        raise


def pasted_text(storage: Storage, import_id: str) -> str:
    """Return what was pasted, so that it can be mended and sent again.

    Empty if it is gone, or if it was a file after all that only bears the name of a pasted text.
    """
    try:
        return storage.path("uploads", import_id, SOURCE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
