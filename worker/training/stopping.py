"""What a run is asked while it goes: a signal sets a flag, the loop looks at it where it is safe.

SIGTERM: save and end. SIGUSR1: learn no more, keep the best of what was learned, and succeed.
"""

import signal
from types import FrameType


class StoppedError(Exception):
    """The run was asked to stop and has done so; everything worth keeping is saved.

    Attributes:
        step: the step from which it can go on.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class StopFlag:
    """Two flags that only ever go up.

    Attributes:
        is_up: the run is to save and end (SIGTERM).
        finishes: it is to learn no more and to keep its best (SIGUSR1, or from its start).
    """

    def __init__(self, *, finishes: bool = False) -> None:
        self.is_up = False
        self.finishes = finishes

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._raise)
        signal.signal(signal.SIGINT, self._raise)
        signal.signal(signal.SIGUSR1, self._finish)

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self.is_up = True

    def _finish(self, _number: int, _frame: FrameType | None) -> None:
        self.finishes = True
