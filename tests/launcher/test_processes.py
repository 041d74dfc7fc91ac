"""Processes are kept running, restarted when they die, and stopped together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.launcher.processes import KeptProcess, Program
from tests.support.waiting import wait_until
from tests.support.workers import wait_until_gone

# A launcher of our own in a process of its own: two programs that write down who they are.
_LAUNCHER = """
import sys
from pathlib import Path
from app.launcher.processes import ProcessGroup, Program, run_until_signal
folder = Path(sys.argv[1])
script = (
    "import os, sys, time, pathlib\\n"
    "path = pathlib.Path(sys.argv[1])\\n"
    "path.with_suffix('.new').write_text(str(os.getpid()))\\n"
    "path.with_suffix('.new').replace(path)\\n"
    "time.sleep(600)\\n"
)
programs = [
    Program(name, [sys.executable, "-c", script, str(folder / name)]) for name in ("one", "two")
]
run_until_signal(ProcessGroup(programs, folder / "logs"))
"""


_CHATTY = """
import time
while True:
    print("a line of the log\\n" * 500, end="", flush=True)
    time.sleep(0.05)
"""


def _pid(folder: Path, name: str) -> int:
    path = folder / name
    return int(path.read_text()) if path.exists() else 0


@pytest.fixture
def launcher(tmp_path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", _LAUNCHER, str(tmp_path)])
    wait_until(
        lambda: _pid(tmp_path, "one") and _pid(tmp_path, "two"), timeout=20, what="both programs"
    )
    return process


def test_a_program_that_dies_is_started_again(
    launcher: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    first = _pid(tmp_path, "one")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: _pid(tmp_path, "one") != first, timeout=20, what="a new process")
    launcher.terminate()
    assert launcher.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_programs_end_with_the_launcher(
    launcher: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    pids = [_pid(tmp_path, "one"), _pid(tmp_path, "two")]
    launcher.send_signal(number)
    launcher.wait(20)
    wait_until_gone(pids, 20)


def test_the_log_of_a_program_that_never_ends_does_not_grow_without_end(tmp_path: Path) -> None:
    chatty = Program("chatty", [sys.executable, "-c", _CHATTY])
    kept = KeptProcess(chatty, tmp_path, echo=False, most_log_bytes=100_000)
    kept.start()
    try:
        aside = tmp_path / "chatty.log.1"

        def sizes_once_put_aside() -> list[int]:
            # In one look, for the program goes on writing.
            kept.tend()
            return [kept.log_path.stat().st_size] if aside.exists() else []

        (size,) = wait_until(sizes_once_put_aside, timeout=20, what="the first log")
        assert size < 100_000
        assert aside.read_text().startswith("a line of the log\n")
        wait_until(lambda: kept.log_path.stat().st_size > 0, timeout=20, what="it writes on")
        # Were the file renamed or the end of it remembered, there would be a hole.
        assert b"\0" not in kept.log_path.read_bytes()
    finally:
        kept.ask_to_stop()
        kept.wait_or_kill(time.monotonic() + 5)
