"""Where a run begins: with a fresh adapter, or with the weights of an earlier version."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load

from app.runs.recipe import START_FOLDER, Recipe
from app.runs.result_files import ADAPTER_WEIGHTS
from worker.methods.learner import ADAPTER, Learner, Tensors
from worker.training import failures


def wear_start(learner: Learner, recipe: Recipe, run_folder: Path) -> None:
    """Put the weights of the version that the recipe names in the place of the fresh ones.

    Raises:
        TrainingFailureError: if they are gone, changed, or do not fit.
    """
    start = recipe.continues_from
    if start is None:
        return
    try:
        content = (run_folder / START_FOLDER / ADAPTER_WEIGHTS).read_bytes()
    except OSError as error:
        raise failures.start_unusable(start.version, str(error)) from error
    if hashlib.sha256(content).hexdigest() != start.adapter_sha256:
        raise failures.start_unusable(start.version, "its SHA-256 is not the recipe's")
    _take(learner, load(content), start.version)


@torch.no_grad()
def _take(learner: Learner, tensors: Tensors, version: int) -> None:
    fresh, _ = learner.result()
    if {name: t.shape for name, t in fresh.items()} != {n: t.shape for n, t in tensors.items()}:
        raise failures.start_unusable(version, "its weights have other names or shapes")
    from peft import set_peft_model_state_dict

    # What peft says of missing names is about the base model's; those above were compared.
    set_peft_model_state_dict(learner.model, tensors, adapter_name=ADAPTER)
