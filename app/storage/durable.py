"""Files that survive a power loss, and that nobody sees half written.

Knows no settings, so that the training process can use it without the rest of the product.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO


def sync_file(file: IO[Any]) -> None:
    """Make what was written to an open file survive a power loss."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only this user reads, and sync it when the block ends well."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        sync_file(file)


def write_durably(path: Path, content: bytes) -> str:
    """Write a file in place and return its SHA-256; for folders that get their name when whole."""
    with durable_file(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    temporary = _beside(path)
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_once(path: Path, content: bytes) -> bytes:
    """Write a file that never changes again, unless it is there, and return what it holds.

    Of several processes at the same first moment one is the first, and all get its content.
    """
    if not path.exists():
        temporary = _beside(path)
        try:
            write_durably(temporary, content)
            # A hard link fails where the name exists, so the first one wins.
            path.hardlink_to(temporary)
        except FileExistsError:
            return path.read_bytes()
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return path.read_bytes()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
