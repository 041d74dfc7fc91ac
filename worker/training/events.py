"""The child's voice: one JSON object a line on what was its standard output.

The descriptor is taken away from everything else first, so that a library that prints, in Python
or in C, can never spoil the stream; whatever prints lands on standard error instead.
"""

import json
import os
import threading
from typing import IO, Any, Protocol


class EventSink(Protocol):
    """Where the loop's news goes; the loop never knows what becomes of it."""

    def emit(self, event: str, **fields: Any) -> None: ...  # noqa: ANN401 (JSON values of any kind)


class EventWriter:
    """Writes events as JSON lines, each flushed at once."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        # Threads speak too: those that watch over the other processes of a team.
        self._lock = threading.Lock()

    @classmethod
    def on_standard_output(cls) -> "EventWriter":
        """Keep standard output for events alone and point everything else to standard error."""
        descriptor = os.dup(1)
        os.dup2(2, 1)
        return cls(os.fdopen(descriptor, "w", encoding="utf-8"))

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON values of any kind)
        """Write one event.

        Raises:
            BrokenPipeError: if nobody listens any more; the run belongs to someone else then.
        """
        line = json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()
