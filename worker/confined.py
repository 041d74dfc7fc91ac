"""Become another program that dies with its parent: `python -m worker.confined PARENT COMMAND …`.

A training process must not outlive the worker that watches it: nobody would count its steps, and
the next worker would start a second one. So the kernel is asked to kill it with its parent. That
wish belongs to the process and survives exec, which is why this small step comes before the real
program; doing it between fork and exec is not safe in a program with threads.
"""

import os
import resource
import signal
import sys

from app.launcher.dependent import die_with_parent


def main() -> None:
    expected_parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with_parent(signal.SIGKILL)
    if os.getppid() != expected_parent:
        # The parent died before the kernel was asked.
        sys.exit(1)
    # A crash must not fill the disk with an image of the memory, private examples included.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execv(command[0], command)  # noqa: S606 (our own command, no shell wanted)


if __name__ == "__main__":
    main()
