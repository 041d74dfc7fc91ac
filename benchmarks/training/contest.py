"""What all contenders have in common; each environment imports it, so it needs no library."""

import json
import resource
import time
from pathlib import Path

EXAMPLES_PER_UPDATE, RANK, ALPHA, LEARNING_RATE, MOST_TOKENS = 8, 16, 32, 1e-3, 1024

Rows = list[dict[str, list[int]]]


def read_rows(folder: Path) -> Rows:
    """Return the tokens of all examples, and which of them are learned."""
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def highest_megabytes() -> float:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Clock:
    """Measures the training alone, on the clock and in processor time."""

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0
        self.start()

    def start(self) -> None:
        self._started, self._at_work = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self._started
        self.processor_seconds = time.process_time() - self._at_work


def tell(tokens: int, clock: Clock, loss: float, megabytes: float) -> None:
    """Print what came of it, as one line of JSON."""
    print(
        json.dumps(
            {
                "tokens": tokens,
                "seconds": clock.seconds,
                "processor_seconds": clock.processor_seconds,
                "loss": loss,
                "peak_megabytes": megabytes,
            }
        )
    )
