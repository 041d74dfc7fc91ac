"""A job queue in a folder, for the installation that has no Redis.

Celery's own filesystem transport (kombu 5.7) is not safe enough for us. It writes messages in
place, so that a reader may see half of one; it moves them through the system's temporary folder,
where others may read them; and a message that cannot be read ends the worker. This one writes
under a temporary name, syncs and renames; claims by a rename inside its own folder, which only
this user can enter; and sets aside what it cannot read.

A message is only a hint (see app/jobs.py), so one that is lost between claim and delivery costs a
few seconds until the sweeper sends it again. Nothing is tried to bring it back.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any, Final
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import virtual

from app.broker.messages import GarbageMessageError, checked_message
from app.storage.durable import write_atomically

logger = logging.getLogger(__name__)

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_SUFFIX: Final = ".json"
_MOST_BYTES: Final = 64 * 1024
_MOST_DEAD_LETTERS: Final = 100
_LEFT_BEHIND_SECONDS: Final = 60.0


class QueueFolder:
    """Messages as files: waiting/<queue>/, claimed/ and dead/ under one folder.

    Safe for any number of processes, each of which may be killed at any moment.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._remove_left_behind(self._folder("claimed"))

    def put(self, queue: str, message: dict[str, Any]) -> None:
        """Publish a message: whoever sees it sees all of it.

        Raises:
            OSError: if it could not be written, for example because the disk is full.
        """
        folder = self._waiting(queue)
        name = f"{time.time_ns():020d}-{uuid4().hex}{_SUFFIX}"
        write_atomically(folder / name, json.dumps(message).encode())

    def take(self, queue: str) -> dict[str, Any] | None:
        """Claim the oldest message that can be read; set aside those that cannot."""
        for path in self._messages(queue):
            claimed = self._folder("claimed") / path.name
            try:
                path.rename(claimed)
            except FileNotFoundError:
                continue  # another worker was faster
            try:
                message = _read(claimed)
            except GarbageMessageError as error:
                self._set_aside(claimed, str(error))
                continue
            claimed.unlink(missing_ok=True)
            return message
        return None

    def size(self, queue: str) -> int:
        return sum(1 for _ in self._messages(queue))

    def purge(self, queue: str) -> int:
        """Remove every waiting message and return how many there were."""
        count = 0
        for path in self._messages(queue):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                count += 1
        return count

    def clean(self, queue: str) -> None:
        """Remove temporary files that killed publishers left behind."""
        self._remove_left_behind(self._waiting(queue), prefix=".")

    def _waiting(self, queue: str) -> Path:
        if not _QUEUE_NAME.fullmatch(queue):
            raise ChannelError(f"{queue!r} cannot be the name of a queue")
        return self._folder("waiting", queue)

    def _folder(self, *names: str) -> Path:
        # Made anew each time: whoever empties the data folder must not stop the workers by it.
        folder = self.root
        for name in ("", *names):
            folder = folder / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _messages(self, queue: str) -> Iterator[Path]:
        folder = self._waiting(queue)
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX)]
        yield from (folder / name for name in sorted(names) if not name.startswith("."))

    def _set_aside(self, claimed: Path, reason: str) -> None:
        logger.warning("A message in the job queue cannot be read and is set aside: %s", reason)
        dead = self._folder("dead")
        with contextlib.suppress(OSError):
            claimed.replace(dead / claimed.name)
        for old in sorted(dead.iterdir())[:-_MOST_DEAD_LETTERS]:
            with contextlib.suppress(OSError):
                old.unlink()

    def _remove_left_behind(self, folder: Path, prefix: str = "") -> None:
        """Remove what processes that were killed in the middle left in a folder."""
        oldest = time.time() - _LEFT_BEHIND_SECONDS
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if path.name.startswith(prefix) and path.stat().st_mtime < oldest:
                    path.unlink()


def _read(path: Path) -> dict[str, Any]:
    """Read one claimed message, believing nothing about it.

    Raises:
        GarbageMessageError: if it is not exactly what Celery would have sent.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise GarbageMessageError("it is longer than any message of ours")
        message = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise GarbageMessageError(f"{path.name}: {error}") from error
    return checked_message(message)


class Channel(virtual.Channel):
    """What Celery speaks to; kombu's names, hence the underscores."""

    def __init__(self, connection: Any, **options: object) -> None:  # noqa: ANN401 (kombu's)
        super().__init__(connection, **options)  # type: ignore[no-untyped-call]
        self._queue_folder = QueueFolder(
            Path(self.connection.client.transport_options["queue_folder"])
        )

    def _put(self, queue: str, message: dict[str, Any], **_: object) -> None:
        self._queue_folder.put(queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002
        message = self._queue_folder.take(queue)
        if message is None:
            raise Empty
        return message

    def _size(self, queue: str) -> int:
        return self._queue_folder.size(queue)

    def _purge(self, queue: str) -> int:
        return self._queue_folder.purge(queue)

    def _new_queue(self, queue: str, **_: object) -> None:
        self._queue_folder.clean(queue)


class Transport(virtual.Transport):
    """kombu's entry: Celery("tailor", broker="app.broker.filesystem:Transport://")."""

    Channel = Channel
    driver_type = "filesystem"
    driver_name = "tailor-filesystem"
    # What kombu treats as a broken connection, to be made anew, instead of a fault of the program.
    connection_errors = (  # type: ignore[assignment]
        *virtual.Transport.connection_errors,
        OSError,
    )

    def driver_version(self) -> str:
        return "1"
