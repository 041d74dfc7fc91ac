"""Which functions of a training are places (see places.py): in its own process, in the worker."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support import places

_LOOP: Final = "worker.training.loop"
_SUPERVISOR: Final = "worker.supervisor"
STARTING: Final = "starting the training process"
TIDYING: Final = "tidying up after the end"
# Where a function stands, its name, and what is done there.
IN_TRAINING: Final = (
    (_LOOP, "check_data", "reading the examples"),
    (_LOOP, "check_base_model", "checking the base model"),
    (_LOOP, "prepare_tokens", "making tokens"),
    ("worker.training.resume", "find_resumable", "looking for checkpoints"),
    (_LOOP, "load_learner", "loading the base model"),
    (f"{_LOOP}:TrainingRun", "_setup_evaluation", "asking the base model first"),
    (f"{_LOOP}:TrainingRun", "_measure_base", "measuring the base model"),
    (f"{_LOOP}:TrainingRun", "_update", "learning"),
    ("worker.training.evaluate:Evaluator", "measure", "asking held-out questions"),
    ("worker.training.evaluate:Evaluator", "answers", "answering to compare"),
    ("worker.training.checkpoints:CheckpointFolder", "save", "saving a checkpoint"),
    ("worker.training.recall:Recaller", "measure", "asking its own examples again"),
    (_LOOP, "save_adapter", "saving the result"),
)
IN_WORKER: Final = (
    ("worker.run_queue", "_begin", "having claimed the run"),
    (_SUPERVISOR, "check_adapter", "checking the result"),
    (_SUPERVISOR, "promote", "giving the result its name"),
    (_SUPERVISOR, "publish", "making it a version"),
    (_SUPERVISOR, "remove_what_is_no_longer_needed", TIDYING),
)
WITHOUT_TRAINING_PROCESS: Final = frozenset(place for _, _, place in IN_WORKER)


def mark_places(table: tuple[tuple[str, str, str], ...], folder_of: Callable[..., Path]) -> None:
    """Put marked functions into the place of those that a table names."""
    for owner, name, place in table:
        holder = holder_of(owner)
        setattr(holder, name, places.marked(place, getattr(holder, name), folder_of))


def holder_of(owner: str) -> Any:  # noqa: ANN401 (a module or a class)
    """Return what a table's first column names."""
    module, _, kind = owner.partition(":")
    holder: Any = importlib.import_module(module)
    return getattr(holder, kind) if kind else holder
