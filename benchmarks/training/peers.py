"""The plain Trainer and TRL's SFTTrainer: `python peers.py FOLDER KIND FORMAT`.

Prints one JSON line. Runs in an environment that need not know Tailor. `trainer` and `trl` are what
a person writes who follows the documentation; `trainer_tuned`, `trl_grouped` and `trl_packed` are
what an expert makes of them on a processor: weights in the number format that it multiplies
fastest, and examples of like length together or packed.
"""

import sys
from pathlib import Path
from typing import Any

from contest import (
    ALPHA,
    EXAMPLES_PER_UPDATE,
    LEARNING_RATE,
    MOST_TOKENS,
    RANK,
    Clock,
    highest_megabytes,
    read_rows,
    tell,
)


def main() -> None:
    folder, kind, fastest = Path(sys.argv[1]), *sys.argv[2:4]
    rows = read_rows(folder)
    build = _trl if kind.startswith("trl") else _plain
    trainer = build(folder, kind, _model(folder, kind, fastest), rows)
    clock = Clock()
    outcome = trainer.train()
    clock.stop()
    tokens = sum(len(row["input_ids"]) for row in rows)
    tell(tokens, clock, outcome.training_loss, highest_megabytes())


def _settings(folder: Path, kind: str) -> dict[str, Any]:
    return {
        "output_dir": str(folder / kind),
        "per_device_train_batch_size": EXAMPLES_PER_UPDATE,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 1000,
        "use_cpu": True,
        "disable_tqdm": True,
    }


def _model(folder: Path, kind: str, fastest: str) -> Any:  # noqa: ANN401 (transformers ships no types)
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if kind in {"trainer", "trl"} else getattr(torch, fastest)
    return AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)


def _adapter() -> Any:  # noqa: ANN401 (peft ships no types)
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")


def _plain(folder: Path, kind: str, model: Any, rows: Any) -> Any:  # noqa: ANN401
    from peft import get_peft_model
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    sampling = "group_by_length" if kind == "trainer_tuned" else "random"
    return Trainer(
        model=get_peft_model(model, _adapter()),
        args=TrainingArguments(**_settings(folder, kind), train_sampling_strategy=sampling),
        train_dataset=[{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows],
        data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(folder / "base")),
    )


def _trl(folder: Path, kind: str, model: Any, rows: Any) -> Any:  # noqa: ANN401
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {"max_length": MOST_TOKENS, **_settings(folder, kind)}
    if kind != "trl":
        # The weights have their format themselves, which is quicker; memory is not short.
        settings |= {"bf16": False, "gradient_checkpointing": False}
    if kind == "trl_grouped":
        settings["train_sampling_strategy"] = "group_by_length"
    if kind == "trl_packed":
        # As many examples an update as the others, as near as whole packs of tokens allow.
        tokens = sum(len(row["input_ids"]) for row in rows) / len(rows) * EXAMPLES_PER_UPDATE
        settings |= {
            "packing": True,
            "per_device_train_batch_size": max(1, round(tokens / MOST_TOKENS)),
        }
    return SFTTrainer(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "base"),
        peft_config=_adapter(),
    )


if __name__ == "__main__":
    main()
