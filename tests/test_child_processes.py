"""Child processes know no secrets, die with their parent, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.processes import child_environment, dying_with_parent, end_group
from tests.support.waiting import wait_until

# A parent that starts a program, says its number, and waits to be killed.
_PARENT = """
import signal, subprocess, sys
from app.processes import dying_with_parent
child = subprocess.Popen(dying_with_parent(["sleep", "600"], signal.SIGKILL))
print(child.pid, flush=True)
child.wait()
"""


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


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
        assert _lives(child)
        parent.kill()
    wait_until(lambda: not _lives(child), timeout=20, what="the end of the child")


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
    wait_until(lambda: not _lives(grandchild), timeout=20, what="the end of the grandchild")
