"""Child processes know no secrets, die with their parent, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.processes import child_environment, dying_with_parent, end_group
from tests.support.workers import is_running, wait_until_gone

# A parent that starts a program, says its number, and waits to be killed.
_PARENT = """
import signal, subprocess, sys
from app.processes import dying_with_parent
child = subprocess.Popen(dying_with_parent(["sleep", "600"], signal.SIGKILL))
print(child.pid, flush=True)
child.wait()
"""


def _first_number(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_a_child_learns_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAILOR_DATABASE_URL", "TAILOR_SECRET_KEY", "HF_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    environment = child_environment(PYTHONHASHSEED="0")
    assert "secret" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["PYTHONHASHSEED"] == "0"


def test_a_program_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE)
    with parent:
        child = _first_number(parent)
        assert is_running(child)
        parent.kill()
    wait_until_gone([child], 20)


def test_a_program_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    command = dying_with_parent(["touch", str(tmp_path / "started")], signal.SIGKILL)
    nobody = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, check=True)
    command[command.index(str(os.getpid()))] = nobody.stdout.decode().strip()
    assert subprocess.run(command, check=False).returncode == 1
    assert not (tmp_path / "started").exists()


def test_what_a_child_started_ends_with_it() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        grandchild = _first_number(process)
        end_group(process)
        # Once more does no harm.
        end_group(process)
    wait_until_gone([grandchild], 20)
