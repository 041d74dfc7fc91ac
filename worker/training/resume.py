"""What a checkpoint holds of a run, put together and taken apart again.

All that the rest of the run depends on is in it, so that a run that goes on ends with the same
adapter, bit for bit on a processor, as one that was never interrupted.
"""

from pathlib import Path
from typing import Any, Final

import torch

from app.runs.methods import Quantization
from worker.methods.learner import Learner, Weights
from worker.training import random_state
from worker.training.checkpoints import Checkpoint, CheckpointFolder, Tensors
from worker.training.few_bits import require_library
from worker.training.precision import Numbers
from worker.training.progress import RunState
from worker.training.reports import Reports

_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")


def find_resumable(
    checkpoints: CheckpointFolder, reports: Reports, bits: Quantization, *, finishes: bool = False
) -> Checkpoint | None:
    """Return the newest whole checkpoint, unless going on would not end as one run here would.

    Of a run that finishes nothing more is learned, so its checkpoint does wherever it was made.

    Raises:
        TrainingFailureError: if the base model cannot be held in so few bits here.
    """
    # What was saved would be thrown away as begun with other libraries, and yet this run cannot
    # begin anew here; once the missing one is back, it goes on from there.
    require_library(bits)
    checkpoint = checkpoints.load_newest()
    if checkpoint is None or finishes:
        return checkpoint
    difference = Numbers.from_json(checkpoint.state["numbers"]).difference_here()
    if not difference:
        return checkpoint
    checkpoints.discard_all()
    reports.begin_anew(
        "The training begins anew, because what was saved would not go on in the same numbers: "
        f"{difference}."
    )
    return None


def numbers_for(checkpoint: Checkpoint | None, notebook: Path, bits: Quantization) -> Numbers:
    """Return with which numbers a run goes on, or those that this machine chooses."""
    if checkpoint is not None:
        numbers = Numbers.from_json(checkpoint.state["numbers"])
        if not numbers.difference_here():
            return numbers
    return Numbers.choose(notebook, bits)


def pack(
    state: RunState,
    numbers: Numbers,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    reports: Reports,
) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """Return a checkpoint's tensors, by file, and everything else of it as plain data."""
    moments, weights = optimizer.state, learner.weights
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
    method_tensors, method_plain = learner.state()
    if method_tensors:
        tensors["method"] = method_tensors
    plain = {
        "run": state.as_json(),
        "random": plain_random,
        "numbers": numbers.as_json(),
        "method": method_plain,
        "said": reports.said_for_good,
    }
    return tensors, plain


def unpack(
    checkpoint: Checkpoint, learner: Learner, optimizer: torch.optim.Optimizer, reports: Reports
) -> RunState:
    """Bring weights, optimizer, randomness and what was said back; return where the run stood."""
    weights = learner.weights
    take_weights(checkpoint, weights)
    moments = checkpoint.tensors["optimizer"]
    for name, weight in weights.items():
        if f"step.{name}" in moments:
            optimizer.state[weight] = {
                # The count of steps too: the fused optimizer wants all of it on one device.
                part: moments[f"{part}.{name}"].to(weight.device)
                for part in _MOMENTS
            }
    learner.restore(checkpoint.tensors.get("method", {}), checkpoint.state.get("method", {}))
    random_state.restore(checkpoint.state["random"], checkpoint.tensors["random"])
    # Checkpoints before 2026-11-26 lack it.
    reports.repeat(checkpoint.state.get("said", []))
    return RunState.from_json(checkpoint.state["run"])


def take_weights(checkpoint: Checkpoint, weights: Weights) -> None:
    """Put the adapter of a checkpoint in the place of what was learned since."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(checkpoint.tensors["adapter"][name])
