"""How the worker's processes live and end together.

The main process and its pool processes share two things that they inherit by fork: a byte that
says "stop", and a pipe that nobody ever writes to. When the main process dies, however it dies, the
pipe's other end closes, and each pool process ends itself. (The kernel's death signal alone is not
enough: it is bound to the thread that forked, and pools fork replacements from a passing thread.)
A training process in turn dies with its pool process (app/processes.py).
"""

import logging
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

logger = logging.getLogger(__name__)

HARD_STOP_SECONDS: Final = 28.0
"""After this long the worker ends whatever its tasks are doing; containers kill at 30 or later."""


class Lifeline:
    """Made in the main process before it forks."""

    def __init__(self) -> None:
        self._flag = mmap.mmap(-1, 1)
        self._read_end, self._write_end = os.pipe()

    def request_stop(self) -> None:
        """Ask all running work to save and end; called in the main process."""
        if not self.stop_requested():
            self.ask_to_stop()
            threading.Thread(target=_end_after_a_while, daemon=True).start()

    def ask_to_stop(self) -> None:
        self._flag[0] = 1

    def stop_requested(self) -> bool:
        return self._flag[0] == 1

    def enter_pool_process(self) -> None:
        """Follow the main process into death from now on; called in each pool process."""
        os.close(self._write_end)
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Save and end when this pool process is told to end while it works.

        A signal to the whole process group reaches it beside the main process. (The pool sets its
        own handler after a process has begun, so this one is set for each piece of work.)
        """
        before = signal.signal(signal.SIGTERM, lambda *_: self.ask_to_stop())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _watch(self) -> None:
        os.read(self._read_end, 1)
        os.kill(os.getpid(), signal.SIGKILL)


def _end_after_a_while() -> None:
    threading.Event().wait(HARD_STOP_SECONDS)
    logger.warning("The worker's tasks did not end in time; the worker ends without them.")
    os._exit(1)


@cache
def lifeline() -> Lifeline:
    """Return this worker's lifeline; first called in the main process, before it forks."""
    return Lifeline()
