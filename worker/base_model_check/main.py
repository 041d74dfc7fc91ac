"""Load a base model and let it say a few words: `… main FOLDER SECONDS`.

Runs as a process of its own with no secrets in its environment and a limit on processor time, since
it is the first to touch files that came from elsewhere. Prints one JSON object on standard output:
first_words, has_chat_template, has_pad_token; or problem.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from app.launcher.dependent import die_with_parent

_WORDS = 12
_GREETING = "Hello, how are you?"


def _first_words(folder: Path) -> dict[str, object]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The library's own types promise less than its classes do.
    tokenizer: Any = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype="auto",
        low_cpu_mem_usage=True,
    )
    model.eval()
    has_template = bool(tokenizer.chat_template)
    if has_template:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": _GREETING}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
    else:
        inputs = tokenizer(_GREETING, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = model.generate(
            **inputs,
            max_new_tokens=_WORDS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
        )
    said = tokenizer.decode(tokens[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return {
        "first_words": said.strip(),
        "has_chat_template": has_template,
        "has_pad_token": tokenizer.pad_token is not None,
    }


def main() -> None:
    folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
    die_with_parent()
    # Threads count together, so the limit on processor time is the wall time times the cores.
    limit = seconds * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    answer_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = _first_words(folder)
    except Exception as error:  # noqa: BLE001 (the process boundary: whatever it is, it is told)
        answer = {"problem": f"{type(error).__name__}: {error}"[:500]}
    json.dump(answer, answer_stream)
    answer_stream.flush()


if __name__ == "__main__":
    main()
