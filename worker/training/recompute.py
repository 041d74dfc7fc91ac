"""Activations calculated twice instead of being kept: less memory for about a third more time.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Each layer of the transformer
keeps only what went into it and calculates the rest again when its gradient is due. The second
time is the same calculation with the same random numbers, so the gradients are the same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from worker.training.batches import MicroBatch
from worker.training.loss import AnswerLoss


def way_to_recompute(
    model: Any,  # noqa: ANN401 (peft ships no types)
    loss: AnswerLoss,
) -> Callable[[], None] | None:
    """Return what makes the model do so; None if this kind of model does not know how."""
    if not getattr(_transformer(model), "supports_gradient_checkpointing", False):
        return None
    return partial(recompute_activations, model, loss)


def recompute_activations(model: Any, loss: AnswerLoss) -> None:  # noqa: ANN401 (see above)
    """Do so from here on, while the model is in training mode; evaluations keep nothing anyway."""
    # The reentrant way would want the embeddings to carry a gradient, and they are frozen.
    _transformer(model).activation_checkpointing_enable({"use_reentrant": False})
    if loss.packed is not None:
        loss.packed.recomputes = True


def trial(loss: AnswerLoss, rows: int, optimizer: torch.optim.Optimizer) -> Callable[[int], None]:
    """Return what goes through the model with so many rows of a length, to see whether it fits."""

    def go_through(length: int) -> None:
        ids = torch.zeros((rows, length), dtype=torch.long, device=loss.device)
        places = torch.arange(ids.numel() - 1, device=loss.device)
        batch = MicroBatch(ids, places, targets=ids.reshape(-1)[1:], tokens=ids.numel())
        loss.total(batch).backward()
        optimizer.zero_grad(set_to_none=True)

    return go_through


def _transformer(model: Any) -> Any:  # noqa: ANN401 (peft ships no types)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
