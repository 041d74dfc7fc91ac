"""The other processes of a team, as its lead sees them: started, called together, watched.

To the worker a team is one process. Its members are in the lead's process group, hold the devices'
locks like it, and die with it. And it dies with each of them, in the same way: then the worker sees
what it would see of one process, and the run goes on from its last checkpoint as it always does.

Imports no torch, so that the members can be on their way before anything else is done.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from app.processes import dying_with_parent
from worker.training.events import EventSink

MEMBER_MODULE: Final = "worker.training.team.member"
_DIED_WITHOUT_A_WORD: Final = 1
_FAILED: Final = 3


class JsonForm(Protocol):
    """What can be told as JSON."""

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Invitation:
    """What a member is told once the lead knows where the run begins.

    Attributes:
        place: the folder in which they find each other.
        rank: which of the team's processes it is.
        size: how many there are.
        step: of the checkpoint to go on from; None for the beginning.
        numbers: with what is calculated, see precision.Numbers.
    """

    place: str
    rank: int
    size: int
    step: int | None
    numbers: dict[str, Any]


def wait_for_invitation() -> Invitation | None:
    """Wait on standard input; None if the lead is gone."""
    line = sys.stdin.readline()
    return Invitation(**json.loads(line)) if line.endswith("\n") else None


class Members:
    """All processes of a team but the lead, which is this one.

    Must be made in the main thread, because they die with the thread that starts them.

    Args:
        devices: what CUDA_VISIBLE_DEVICES takes for each; a processor has no such name, and any
            other leaves a process without a card.
        run_folder: the run's folder.
        fence: under which the lead may publish.
        events: where a member's failure is told.
    """

    def __init__(
        self, devices: tuple[str, ...], run_folder: Path, fence: int, events: EventSink
    ) -> None:
        self._events = events
        self._processes = [_start(device, run_folder, fence) for device in devices]
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    @property
    def team_size(self) -> int:
        return 1 + len(self._processes)

    def call(self, place: Path, step: int | None, numbers: JsonForm) -> None:
        """Tell them where the run begins. They load the model meanwhile, as the lead does."""
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for rank, process in enumerate(self._processes, start=1):
            invitation = Invitation(str(place), rank, self.team_size, step, numbers.as_json())
            assert process.stdin is not None  # noqa: S101 (it was asked for below)
            # One that is dead already is told of by whoever watches it.
            with suppress(OSError):
                process.stdin.write(json.dumps(asdict(invitation)).encode() + b"\n")
                process.stdin.flush()

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Hear a member's failure, and end with it. Runs in a thread."""
        failure: dict[str, Any] | None = None
        for line in process.stdout or ():
            with suppress(ValueError):
                failure = json.loads(line)
        code = process.wait()
        # A member waits for the lead's end: whatever ended it, the run cannot go on without it.
        if failure is not None:
            self._events.emit(**failure)
            os._exit(_FAILED)
        sys.stderr.write(f"[tailor] a process of the team ended with exit code {code}\n")
        sys.stderr.flush()
        if code == -signal.SIGKILL:
            # The worker knows the kernel's kills, for want of memory, from all others.
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(_DIED_WITHOUT_A_WORD)


def _start(device: str, run_folder: Path, fence: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", MEMBER_MODULE]
    return subprocess.Popen(
        dying_with_parent(
            [*command, "--run-folder", str(run_folder), "--fence", str(fence)], signal.SIGKILL
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": device},
        # The locks of the devices: a card is free when nobody uses it, and not a moment before.
        close_fds=False,
    )
