"""Writes the model's folder, file by file, so that a reader never meets half a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def write_model_files(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        fresh = Path(name)
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=200,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.cpu().bfloat16().save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        for file in sorted(fresh.iterdir()):
            # Safetensors come readable by the owner alone; a shipped file is for everyone.
            file.chmod(0o644)
            file.replace(folder / file.name)
