"""A really started Tailor: `tailor up` as a process of its own, with its own ports and folder."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.plain_http import is_healthy
from tests.support.services import free_port
from tests.support.waiting import wait_until

_START_SECONDS = 90


class RunningTailor:
    """Start, stop and kill all of Tailor.

    Args:
        data_dir: an empty or earlier data folder.
        environment: more settings, such as TAILOR_DATABASE_URL.
    """

    def __init__(self, data_dir: Path, environment: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.inference_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")},
            "TAILOR_DATA_DIR": str(data_dir),
            "TAILOR_PORT": str(self.port),
            "TAILOR_INFERENCE_PORT": str(self.inference_port),
            "PYTHONUNBUFFERED": "1",
            # Each would take seconds of a processor that the tests share.
            "TAILOR_SPARE_TRAINING_PROCESS": "false",
            "TAILOR_MEASURE_MACHINE": "false",
            **(environment or {}),
        }
        self._output = data_dir.parent / f"{data_dir.name}-up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up"],
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        wait_until(self._is_up, timeout=_START_SECONDS, what="Tailor to say that it is running")
        return self

    def _is_up(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"Tailor ended at once:\n{self.output()}")
        return "Tailor is running" in self.output()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def set_up_link(self) -> str:
        found = re.search(r"http\S+/setup/\S+", self.output())
        if found is None:
            raise AssertionError(f"no set-up link in:\n{self.output()}")
        return found.group()

    def stop(self) -> int:
        """Stop as Ctrl-C does; return the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill(self) -> None:
        """End the launcher without a warning; the kernel ends the rest."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def processes(self) -> dict[int, str]:
        """Return pid and command of everything that runs for this Tailor."""
        marker = f"TAILOR_DATA_DIR={self.data_dir}".encode()
        # Children that read strangers' data are given an almost empty environment, but a path.
        folder = f"{self.data_dir}/"
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                is_ours = folder in command or marker in (
                    (entry / "environ").read_bytes().split(b"\0")
                )
                if command and is_ours:
                    found[int(entry.name)] = command
            except OSError:
                continue
        return found

    def kill_matching(self, pattern: str, number: signal.Signals = signal.SIGKILL) -> list[int]:
        """Send a signal to every process of this Tailor whose command matches; return the pids."""
        pids = [pid for pid, command in self.processes().items() if re.search(pattern, command)]
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return pids

    def logs(self) -> str:
        """Return the ends of all logs, for a failing test's message."""
        parts = [self.output()[-2000:]]
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            text = path.read_text(encoding="utf-8", errors="replace")[-3000:]
            parts.append(f"--- {path.name} ---\n{text}")
        return "\n".join(parts)

    def healthy(self) -> bool:
        return is_healthy(self.url)

    def chats(self) -> bool:
        """Whether its chat server answers."""
        return is_healthy(f"http://127.0.0.1:{self.inference_port}")


@contextmanager
def running_tailor(
    data_dir: Path, environment: dict[str, str] | None = None
) -> Iterator[RunningTailor]:
    """A Tailor for the length of a block; its logs are printed if the block fails."""
    tailor = RunningTailor(data_dir, environment)
    try:
        yield tailor.start()
    except BaseException:
        sys.stderr.write(tailor.logs())
        raise
    finally:
        tailor.stop()
        wait_until(lambda: not tailor.processes(), timeout=30, what="every process to be gone")
