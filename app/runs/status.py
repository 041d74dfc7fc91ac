"""A run's life: which status may follow which. The one table of legal moves."""

from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE: Final = (
    RunStatus.STARTING,
    RunStatus.TRAINING,
    RunStatus.EVALUATING,
    RunStatus.SAVING,
)
"""Statuses in which a worker holds, or held, the run."""

FINAL: Final = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)

_ENDINGS: Final = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})

# A claimed run may go back to the queue from any active status: its worker died and the sweeper
# freed it, or the worker was told to stop and saved first. It may also jump ahead: a run that
# continues from its last checkpoint may have nothing left but the saving.
_WAYS_OUT: Final = frozenset({RunStatus.QUEUED, RunStatus.PAUSED}) | _ENDINGS

LEGAL_MOVES: Final[dict[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.QUEUED: frozenset({RunStatus.STARTING, RunStatus.PAUSED}) | _ENDINGS,
    RunStatus.STARTING: frozenset({RunStatus.TRAINING, RunStatus.EVALUATING, RunStatus.SAVING})
    | _WAYS_OUT,
    RunStatus.TRAINING: frozenset({RunStatus.EVALUATING, RunStatus.SAVING}) | _WAYS_OUT,
    RunStatus.EVALUATING: frozenset({RunStatus.TRAINING, RunStatus.SAVING}) | _WAYS_OUT,
    RunStatus.SAVING: frozenset({RunStatus.TRAINING, RunStatus.SUCCEEDED}) | _WAYS_OUT,
    RunStatus.PAUSED: frozenset({RunStatus.QUEUED}) | _ENDINGS,
    RunStatus.SUCCEEDED: frozenset(),
    # What a fault of the machine ended may be tried again from where it was last saved.
    RunStatus.FAILED: frozenset({RunStatus.QUEUED}),
    RunStatus.CANCELLED: frozenset(),
}


class IllegalMoveError(Exception):
    """A status may not follow another; this is a fault of Tailor, never of a person."""


def check_move(before: RunStatus, after: RunStatus) -> None:
    """Raise IllegalMoveError unless `after` may follow `before`. Staying is always legal."""
    if after != before and after not in LEGAL_MOVES[before]:
        raise IllegalMoveError(f"A run cannot go from {before} to {after}.")
