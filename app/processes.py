"""Child processes: started with nothing but what they need, and ended for sure.

Run as a program, `python -m app.processes PARENT SIGNAL COMMAND …` becomes another program that
dies with its parent. The kernel is asked to end it; that wish belongs to the process and survives
exec, which is why this small step comes before the real program: doing it between fork and exec is
not safe in a program with threads. Knows no settings, so that every process can use it.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1

# All that a child learns of its parent's environment. No address, password or token.
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
_SET: Final = {
    "PYTHONUTF8": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def child_environment(**extra: str) -> dict[str, str]:
    """Return what a child that handles files of others may know, and what it needs besides."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _SET | extra


def dying_with_parent(command: Sequence[str], last_signal: signal.Signals) -> list[str]:
    """Return the command line of a program that gets a last signal when its parent dies.

    On Linux "parent" means the thread that starts it, so that thread has to outlive it.
    """
    wrapper = [sys.executable, "-m", "app.processes", str(os.getpid()), str(int(last_signal))]
    return [*wrapper, *command]


def end_group(process: "subprocess.Popen[Any]") -> None:
    """End a process that was started in a session of its own, with everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nothing is left of the group; macOS says so by refusing.
        process.kill()
    process.wait()


def main() -> None:
    expected_parent, last_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    _die_with_parent(last_signal)
    if os.getppid() != expected_parent:
        # The parent died before the kernel was asked.
        sys.exit(1)
    # A crash must not fill the disk with an image of the memory, private examples included.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(command[0], command)  # noqa: S606 (our own command, no shell wanted)


def _die_with_parent(last_signal: int) -> None:
    """Ask the kernel for a signal when the parent dies. Elsewhere than on Linux, do nothing."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, last_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


if __name__ == "__main__":
    main()
