"""How fast something goes, over the last few seconds."""

import time
from collections import deque

_WINDOW_SECONDS = 8.0
_NOT_BEFORE_SECONDS = 1.0


class Speed:
    """Bytes per second, smoothed by looking back a little."""

    def __init__(self) -> None:
        self._moments: deque[tuple[float, int]] = deque()

    def after(self, position: int) -> int:
        """Note a position and return the speed; 0 until it can be told."""
        now = time.monotonic()
        if not self._moments or now - self._moments[-1][0] > 0.1:
            self._moments.append((now, position))
        while now - self._moments[0][0] > _WINDOW_SECONDS and len(self._moments) > 2:
            self._moments.popleft()
        since, began = self._moments[0]
        if now - since < _NOT_BEFORE_SECONDS:
            return 0
        return max(0, int((position - began) / (now - since)))
