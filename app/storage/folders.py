"""Files by key, in one local folder.

Keys are made of identifiers that Tailor itself gave out; nothing that a person typed ever becomes
part of a path. The check below is the second wall behind that rule.
"""

import os
import re
import shutil
from pathlib import Path

from app.errors import DomainError
from app.settings import get_settings
from app.sizes import filesize

_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_TOP_FOLDERS = ("uploads", "runs", "models", "tmp", "keys", "logs")


class DiskFullError(DomainError):
    """The disk that holds the data folder has no room left."""

    status_code = 507

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            "The disk of this machine is full.",
            why=f"There must be {filesize(needed_bytes)} of room, and "
            f"{filesize(free_bytes)} is free.",
            next_step="Ask the person who runs Tailor to make room, then try again.",
        )


class Storage:
    """The folders of Tailor under one root, all on one filesystem so that renames are atomic."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Create the folders, readable by this user alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _TOP_FOLDERS:
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def path(self, *parts: str) -> Path:
        """Return the path for a key such as ("runs", run_id).

        Raises:
            ValueError: if a part is not a plain name, or the path would leave the root.
        """
        for part in parts:
            if not _SAFE_PART.fullmatch(part):
                raise ValueError(f"{part!r} cannot be part of a storage key")
        candidate = self.root.joinpath(*parts)
        if not candidate.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{parts!r} leaves the storage root")
        return candidate

    def folder(self, *parts: str) -> Path:
        """Return the folder for a key, created if it was not there."""
        folder = self.path(*parts)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def remove(self, *parts: str) -> None:
        """Delete what a key names, if it is there. Never the root or a top folder."""
        if len(parts) < 2:
            raise ValueError("only what lies inside a top folder can be removed")
        target = self.path(*parts)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=False)
        else:
            target.unlink(missing_ok=True)

    def moment(self) -> float:
        """Return the time on the disk's own clock, by which the ages of its files are measured.

        Machines that share the folder may disagree about the time.
        """
        folder = self.path("tmp")
        os.utime(folder)
        return folder.stat().st_mtime

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def require_room(self, needed_bytes: int) -> None:
        """Raise DiskFullError unless so many bytes are free."""
        free = self.free_bytes()
        if free < needed_bytes:
            raise DiskFullError(needed_bytes, free)


def get_storage() -> Storage:
    """Return the storage of this process's settings."""
    return Storage(get_settings().storage_root)
