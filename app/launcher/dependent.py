"""Start a program that dies with its parent: `python -m app.launcher.dependent COMMAND …`.

The launcher may be killed in a way that it cannot answer to (kill -9, out of memory). On Linux the
kernel then ends its children; this wrapper asks for that and becomes the program.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel for a signal when the parent dies. Elsewhere than on Linux, do nothing."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def main() -> None:
    expected_parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with_parent()
    if os.getppid() != expected_parent:
        # The parent died before the kernel was asked.
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 (our own command, no shell wanted)


if __name__ == "__main__":
    main()
