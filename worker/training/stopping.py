"""How a run is asked to stop: SIGTERM sets a flag, the loop looks at it where it is safe."""

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
    """Raised by SIGTERM; only ever goes up."""

    def __init__(self) -> None:
        self.is_up = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._raise)
        signal.signal(signal.SIGINT, self._raise)

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self.is_up = True
