"""Keep a handful of processes running, restart the ones that die, stop all together."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.processes import dying_with_parent, end_group

logger = logging.getLogger(__name__)

_STOP_SECONDS = 35
_LONG_ENOUGH_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 30
_LOG_BYTES = 10 * 1024**2


@dataclass(frozen=True)
class Program:
    """A program to keep running."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


class KeptProcess:
    """One program, its present process, and its log file."""

    def __init__(
        self, program: Program, log_folder: Path, *, echo: bool, most_log_bytes: int = _LOG_BYTES
    ) -> None:
        self.program = program
        self._most_log_bytes = most_log_bytes
        self._echo = echo
        self.log_path = log_folder / f"{program.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_again_at = 0.0
        self._pause = 1.0

    def start(self) -> None:
        self._bound_log()
        with self.log_path.open("ab") as log:
            output = None if self._echo else log
            self._process = subprocess.Popen(
                dying_with_parent(self.program.command, signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.program.environment},
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    def tend(self) -> None:
        """Start the program again if it ended, after a pause that grows while it keeps dying."""
        self._bound_log()
        if self._process is not None and self._process.poll() is not None:
            lived = time.monotonic() - self._started_at
            self._pause = (
                1.0
                if lived > _LONG_ENOUGH_SECONDS
                else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            )
            logger.warning(
                "%s ended (%s); it starts again in %.0f s. Its log: %s",
                self.program.name,
                _how_it_ended(self._process.returncode),
                self._pause,
                self.log_path,
            )
            end_group(self._process)
            self._process = None
            self._start_again_at = time.monotonic() + self._pause
        if self._process is None and time.monotonic() >= self._start_again_at:
            self.start()

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_or_kill(self, deadline: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in time and is ended.", self.program.name)
        end_group(self._process)

    def _bound_log(self) -> None:
        """Put a log that has grown large aside, in the place of the one before.

        The program goes on writing at the end of the file it has open, so the file is copied and
        emptied; renamed, it would grow on under its other name.
        """
        if self.log_path.exists() and self.log_path.stat().st_size > self._most_log_bytes:
            shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
            os.truncate(self.log_path, 0)


def _how_it_ended(return_code: int) -> str:
    if return_code < 0:
        return f"signal {signal.Signals(-return_code).name}"
    return f"exit code {return_code}"


class ProcessGroup:
    """Several programs that live and end together.

    Args:
        programs: what to keep running.
        log_folder: where each program's output goes, in a file of its own name.
        echo: let the output through instead (in a container, whose engine keeps the logs).
    """

    def __init__(
        self, programs: Sequence[Program], log_folder: Path, *, echo: bool = False
    ) -> None:
        log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept = [KeptProcess(program, log_folder, echo=echo) for program in programs]
        self._stopping = threading.Event()

    def start(self) -> None:
        for kept in self._kept:
            kept.start()

    def request_stop(self) -> None:
        self._stopping.set()

    def tend_until_stopped(self) -> None:
        while not self._stopping.wait(0.5):
            for kept in self._kept:
                kept.tend()

    def stop(self) -> None:
        """Ask all to stop, wait, then end what is left. Last started is first stopped."""
        deadline = time.monotonic() + _STOP_SECONDS
        for kept in reversed(self._kept):
            kept.ask_to_stop()
        for kept in reversed(self._kept):
            kept.wait_or_kill(deadline)


def run_until_signal(group: ProcessGroup, farewell: str = "") -> None:
    """Tend the group until Ctrl-C or SIGTERM, then stop it. A second Ctrl-C changes nothing.

    Args:
        group: the programs.
        farewell: what to say when the wish to stop has come and stopping takes a while.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: group.request_stop())
    try:
        group.start()
        group.tend_until_stopped()
        sys.stdout.write(farewell)
        sys.stdout.flush()
    finally:
        group.stop()
