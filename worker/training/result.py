"""The adapter's folder as plain peft reads it, with the tokenizer and chat template it needs."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from safetensors.torch import save
from transformers import GenerationConfig

from app.runs.recipe import Recipe
from app.storage.durable import file_sha256, sync_file, sync_folder, write_durably
from worker.training.objectives.objective import Objective


@dataclass(frozen=True)
class SavedAdapter:
    folder: str
    sha256: str
    size_bytes: int


def save_adapter(
    run_folder: Path,
    fence: int,
    model: Any,  # noqa: ANN401 (peft ships no types)
    objective: Objective,
    recipe: Recipe,
) -> SavedAdapter:
    """Write `.adapter-<fence>`; whoever holds the run gives it its final name."""
    folder = run_folder / f".adapter-{fence}"
    for leftover in run_folder.glob(".adapter-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(mode=0o700)
    chat, additions = objective.chat, objective.additions()
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(
            {**get_peft_model_state_dict(model), **additions.tensors}.items()
        )
    }
    sha256 = write_durably(
        folder / "adapter_model.safetensors", save(weights, metadata={"format": "pt"})
    )
    config = copy.deepcopy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = recipe.base_model_name
    content = {**config.to_dict(), **additions.adapter_config}
    content["target_modules"] = sorted(content["target_modules"])
    write_durably(
        folder / "adapter_config.json", json.dumps(content, indent=2, sort_keys=True).encode()
    )
    if additions.model_config:
        write_durably(
            folder / "config.json",
            json.dumps(additions.model_config, indent=2, sort_keys=True).encode(),
        )
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
    if file_sha256(folder / "adapter_model.safetensors") != sha256:
        raise OSError("the adapter's file does not hold what was written to it")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return SavedAdapter(folder.name, sha256, size)
