"""What a training made, as plain peft or transformers reads it, with tokenizer and template."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from transformers import GenerationConfig

from app.runs.recipe import Recipe
from app.runs.result_files import ADAPTER_WEIGHTS, weights_sha256
from app.storage.durable import sync_file, sync_folder, write_durably
from worker.methods.learner import Learner
from worker.training.objectives.objective import AdapterAdditions, Objective


@dataclass(frozen=True)
class SavedAdapter:
    folder: str
    sha256: str
    size_bytes: int


def save_adapter(
    run_folder: Path,
    fence: int,
    learner: Learner,
    objective: Objective,
    recipe: Recipe,
) -> SavedAdapter:
    """Write `.adapter-<fence>`; whoever holds the run gives it its final name."""
    folder = run_folder / f".adapter-{fence}"
    for leftover in run_folder.glob(".adapter-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(mode=0o700)
    chat = objective.chat
    if learner.is_whole:
        _write_model(folder, learner)
    else:
        _write_adapter(folder, learner, recipe, objective.additions())
    sha256 = weights_sha256(folder)
    chat.tokenizer.save_pretrained(folder)
    stop_ids = sorted(chat.stop_ids)
    GenerationConfig(
        eos_token_id=stop_ids, pad_token_id=chat.tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            with path.open("rb+") as file:
                sync_file(file)
    sync_folder(folder)
    sync_folder(run_folder)
    if weights_sha256(folder) != sha256:
        raise OSError("the weights' file does not hold what was written to it")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return SavedAdapter(folder.name, sha256, size)


def _write_adapter(
    folder: Path, learner: Learner, recipe: Recipe, additions: AdapterAdditions
) -> None:
    tensors, learned_config = learner.result()
    weights = {
        # Cloned, because safetensors refuses what shares its memory.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in sorted({**tensors, **additions.tensors}.items())
    }
    write_durably(folder / ADAPTER_WEIGHTS, save(weights, metadata={"format": "pt"}))
    config = copy.deepcopy(learned_config)
    config.inference_mode = True
    config.base_model_name_or_path = recipe.base_model_name
    content = {**config.to_dict(), **additions.adapter_config}
    content |= {name: sorted(part) for name, part in content.items() if isinstance(part, set)}
    write_durably(
        folder / "adapter_config.json", json.dumps(content, indent=2, sort_keys=True).encode()
    )
    if additions.model_config:
        write_durably(
            folder / "config.json",
            json.dumps(additions.model_config, indent=2, sort_keys=True).encode(),
        )


def _write_model(folder: Path, learner: Learner) -> None:
    """Write a whole model in parts that every file system and memory can bear."""
    learner.base.save_pretrained(folder, max_shard_size="4GB")
