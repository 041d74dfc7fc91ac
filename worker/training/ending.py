"""When a run has learned enough: all that was planned, or less.

Nothing is remembered for it but what a checkpoint holds anyway, so a run that is killed around its
end decides the same once more.
"""

from app.runs.child_events import Ending
from worker.training.progress import RunState


def early_end(state: RunState, total_steps: int, patience: int, *, finishes: bool) -> Ending | None:
    """Say why no more updates are to be made though some are left, or None if they are.

    Args:
        state: where the run stands.
        total_steps: updates that were planned.
        patience: after so many evaluations in a row without a lower loss it ends; 0 for never.
        finishes: whether a person wants it to keep what it has learned so far.
    """
    # Without any update there would be nothing to keep.
    if not 0 < state.step < total_steps:
        return None
    if patience and state.evaluations_since_best >= patience:
        return Ending.NO_BETTER
    return Ending.ASKED if finishes else None
