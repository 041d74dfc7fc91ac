"""Events kept in a list, in place of the pipe."""

from pathlib import Path
from typing import Any

from worker.training.loop import TrainingRun, run_training
from worker.training.stopping import StopFlag


class RecordedEvents:
    """An event sink that a test can look into."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON values of any kind)
        self.all.append({"event": event, **fields})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.all if entry["event"] == event]

    def only(self, event: str) -> dict[str, Any]:
        (entry,) = self.of(event)
        return entry


def train_here(run_folder: Path, fence: int = 1) -> RecordedEvents:
    """Run the loop in this process."""
    events = RecordedEvents()
    run_training(run_folder, fence, events, StopFlag())
    return events


def prepared_run(run_folder: Path, fence: int = 1) -> tuple[TrainingRun, RecordedEvents]:
    events = RecordedEvents()
    run = TrainingRun(run_folder, fence, events, StopFlag())
    run.setup()
    return run, events
