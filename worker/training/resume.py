"""What a checkpoint holds of a run, put together and taken apart again.

All that the rest of the run depends on is in it, so that a run that goes on ends with the same
adapter, bit for bit on a processor, as one that was never interrupted.
"""

from typing import Any, Final

import torch

from worker.training import random_state
from worker.training.checkpoints import Checkpoint, CheckpointFolder, Tensors
from worker.training.precision import Numbers
from worker.training.progress import RunState
from worker.training.reports import Reports

Weights = dict[str, torch.nn.Parameter]

_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")


def find_resumable(checkpoints: CheckpointFolder, reports: Reports) -> Checkpoint | None:
    """Return the newest whole checkpoint, unless going on would not end as one run here would."""
    checkpoint = checkpoints.load_newest()
    if checkpoint is None:
        return None
    begun_with = Numbers.from_json(checkpoint.state["numbers"])
    if begun_with.can_go_on_here():
        return checkpoint
    checkpoints.discard_all()
    here = Numbers.choose()
    reports.warn(
        f"The training began with {begun_with.device.type} and torch {begun_with.torch_version}; "
        f"this is {here.device.type} and torch {here.torch_version}, which calculates a little "
        "differently. So the training begins anew."
    )
    return None


def pack(
    state: RunState, numbers: Numbers, weights: Weights, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """Return a checkpoint's tensors, by file, and everything else of it as plain data."""
    moments = optimizer.state
    plain_random, tensor_random = random_state.capture()
    tensors = {
        "adapter": {name: weight.detach().cpu() for name, weight in weights.items()},
        "optimizer": {
            f"{part}.{name}": moments[weight][part].detach().cpu()
            for name, weight in weights.items()
            for part in _MOMENTS
            if weight in moments
        },
        "random": tensor_random,
    }
    plain = {"run": state.as_json(), "random": plain_random, "numbers": numbers.as_json()}
    return tensors, plain


def unpack(checkpoint: Checkpoint, weights: Weights, optimizer: torch.optim.Optimizer) -> RunState:
    """Bring weights, optimizer and all randomness back; return where the run stood."""
    take_weights(checkpoint, weights)
    moments = checkpoint.tensors["optimizer"]
    for name, weight in weights.items():
        if f"step.{name}" in moments:
            optimizer.state[weight] = {
                "step": moments[f"step.{name}"],
                "exp_avg": moments[f"exp_avg.{name}"].to(weight.device),
                "exp_avg_sq": moments[f"exp_avg_sq.{name}"].to(weight.device),
            }
    random_state.restore(checkpoint.state["random"], checkpoint.tensors["random"])
    return RunState.from_json(checkpoint.state["run"])


def take_weights(checkpoint: Checkpoint, weights: Weights) -> None:
    """Put the adapter of a checkpoint in the place of what was learned since."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(checkpoint.tensors["adapter"][name])
