"""What long questioning has found out so far, so that the next attempt goes on with it."""

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt

from app.storage.durable import write_atomically

SECONDS_BETWEEN_SAVES: Final = 10.0

Values = npt.NDArray[np.float32]


class KeptAnswers:
    """A table of numbers that is filled in, and written down now and then.

    Args:
        path: its file, whose name says what the numbers are of.
        shape: items, and numbers of each.

    Attributes:
        values: the numbers; nan where nobody asked yet.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._path = path
        self._lock = Lock()
        self._saved = time.monotonic()
        self.values = self._read(shape)

    def has(self, items: Sequence[int]) -> bool:
        return not np.isnan(self.values[items]).any()

    def fill(self, items: Sequence[int], values: Values) -> None:
        """Take down what was found; several lanes may do so at the same time."""
        with self._lock:
            self.values[items] = values
            if time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
                self.save()

    def save(self) -> None:
        write_atomically(self._path, self.values.tobytes())
        self._saved = time.monotonic()

    def _read(self, shape: tuple[int, int]) -> Values:
        try:
            found = np.fromfile(self._path, dtype=np.float32)
            return found.reshape(shape)
        except (OSError, ValueError):
            return np.full(shape, np.nan, dtype=np.float32)
