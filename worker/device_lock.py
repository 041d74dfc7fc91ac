"""One training at a time on each device of this machine, whatever number of workers it has.

The lock is held by the training process itself: the kernel frees it when that process ends, and
not a moment before. So there never are two, even while a worker that lost its run is stopped or
stuck and cannot end its process: the next worker finds the lock taken by a run that is no longer
held under that fence, ends that process, and goes on.
"""

import fcntl
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app.storage.folders import Storage
from app.workers.device import OneDevice

_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class LockHolder:
    """Who holds the device: a training process, and the claim it works for.

    Attributes:
        started: when the process was started, which with its number tells it from all others.
    """

    pid: int
    run_id: str
    fence: int
    started: int | None = None


class DeviceLock:
    """A lock that was taken, to be handed to the training process.

    Args:
        descriptor: the open file that holds it.
        device: what it stands for.
    """

    def __init__(self, descriptor: int, device: OneDevice) -> None:
        self.descriptor = descriptor
        self.device = device

    def sign(self, holder: LockHolder) -> None:
        """Write down who holds it."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(asdict(holder)).encode(), 0)

    def let_go(self) -> None:
        """Close our own hold; the training process keeps its own, if it lives."""
        os.close(self.descriptor)


def take_device(
    storage: Storage, device: OneDevice, *, wait: bool = False
) -> DeviceLock | LockHolder | None:
    """Take the lock of a device.

    Args:
        storage: the data folder, shared by the workers of this machine.
        device: one of this machine.
        wait: wait a few seconds for it, after its holder was ended.

    Returns:
        The lock; or who holds it; or None if it is held by someone who has not signed yet.
    """
    path = _path(storage, device)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + (_WAIT_SECONDS if wait else 0.0)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            holder = _read_holder(path)
            os.close(descriptor)
            return holder
        os.ftruncate(descriptor, 0)
        return DeviceLock(descriptor, device)


def _path(storage: Storage, device: OneDevice) -> Path:
    # Several machines may share the folder over the network; each has devices of its own.
    name = re.sub(r"[^A-Za-z0-9-]", "-", f"{device.host}-{device.device.id}")
    return storage.folder("keys") / f"device-{name}.lock"


def _read_holder(path: Path) -> LockHolder | None:
    try:
        return LockHolder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
