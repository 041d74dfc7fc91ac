"""LLaMA-Factory: `python llama_factory.py FOLDER KIND FORMAT`. Prints one JSON line.

Runs in an environment that need not know Tailor. It is given the tokens that all others have, as a
data set that was tokenized before. `llama_factory` is what its documentation shows;
`llama_factory_tuned` is what an expert makes of it on a processor: the number format that it
multiplies fastest, nothing calculated twice, examples of like length together.
"""

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

from contest import (
    ALPHA,
    EXAMPLES_PER_UPDATE,
    LEARNING_RATE,
    MOST_TOKENS,
    RANK,
    Clock,
    Rows,
    highest_megabytes,
    read_rows,
    tell,
)


def main() -> None:
    folder, kind, fastest = Path(sys.argv[1]), *sys.argv[2:4]
    rows = read_rows(folder)
    _leave_out_sounds()
    _write_tokens(folder, rows)
    clock = Clock()
    from llamafactory.train.tuner import run_exp

    run_exp(args=_settings(folder, kind, fastest), callbacks=[_as_callback(clock)])
    results = json.loads((folder / kind / "train_results.json").read_text(encoding="utf-8"))
    tokens = sum(len(row["input_ids"]) for row in rows)
    tell(tokens, clock, results["train_loss"], highest_megabytes())


def _as_callback(clock: Clock) -> Any:  # noqa: ANN401 (transformers ships no types)
    from transformers import TrainerCallback

    class Timing(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
            clock.start()

        def on_train_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
            clock.stop()

    return Timing()


def _leave_out_sounds() -> None:
    """Put an empty module in the place of torchaudio, which only examples with sounds need."""
    silent = types.ModuleType("torchaudio")
    silent.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = silent


def _write_tokens(folder: Path, rows: Rows) -> None:
    from datasets import Dataset, DatasetDict

    place = folder / "llama-factory-tokens"
    if not place.exists():
        whole = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]
        DatasetDict({"train": Dataset.from_list(whole)}).save_to_disk(str(place))


def _settings(folder: Path, kind: str, fastest: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "model_name_or_path": str(folder / "base"),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "lora_target": "all",
        # Nothing is read from it: the tokens are there already.
        "dataset": "rows",
        "template": "default",
        "tokenized_path": str(folder / "llama-factory-tokens"),
        "cutoff_len": MOST_TOKENS,
        "output_dir": str(folder / kind),
        "overwrite_output_dir": True,
        "per_device_train_batch_size": EXAMPLES_PER_UPDATE,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1000,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    if kind == "llama_factory_tuned":
        settings |= {
            "bf16": fastest == "bfloat16",
            "disable_gradient_checkpointing": True,
            "train_sampling_strategy": "group_by_length",
        }
    return settings


if __name__ == "__main__":
    main()
