"""When a run has lost its way: it is stopped soon, with its last good state kept."""

import math
from collections.abc import Iterable
from typing import Final

import torch

from worker.training import failures
from worker.training.progress import RunState

_SENSELESS_UPDATES: Final = 5
# Far beyond what any adapter that works holds; what comes next are numbers without meaning.
_LARGEST_WEIGHT: Final = 1e4


def require_finite(step: int, loss: float, gradient_norm: float) -> None:
    """Raise TrainingFailureError if a step's numbers are none."""
    for value, what in ((loss, "the loss"), (gradient_norm, "the gradient")):
        if not math.isfinite(value):
            raise failures.lost_its_way(step, f"{what} ({value})")


def require_sense(state: RunState, step: int, loss: float, vocabulary: int) -> None:
    """Raise TrainingFailureError if it does much worse than guessing blindly, time after time.

    Layers that normalise keep even absurd weights finite, so waiting for NaN is not enough.
    """
    state.first_loss = loss if state.first_loss is None else state.first_loss
    is_senseless = loss > max(2 * math.log(vocabulary), 2 * state.first_loss)
    state.senseless_updates = state.senseless_updates + 1 if is_senseless else 0
    if state.senseless_updates >= _SENSELESS_UPDATES:
        raise failures.lost_its_way(step, f"a loss of {loss:g}, worse than blind guessing,")


def require_small_weights(step: int, weights: Iterable[torch.Tensor]) -> None:
    """Raise TrainingFailureError if a weight of the adapter left all that works."""
    largest = float(torch.nn.utils.get_total_norm(weights, norm_type=math.inf))
    if not largest < _LARGEST_WEIGHT:
        raise failures.lost_its_way(step, f"a weight of the adapter ({largest:g})")
