"""Tailor's loop beside the plain transformers Trainer with peft, in one run on one machine.

    python benchmarks/training_speed.py --shape 32m --rows 320
    python benchmarks/training_speed.py --shape starter

Same base model, same examples, same LoRA settings, same number of examples per update. Each runs
in a process of its own. Counted are real tokens (without filling) per second of training: without
imports, loading and evaluation. Tokens per second of processor time say the same where other
programs are busy on the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
EXAMPLES_PER_UPDATE = 8
SHAPES: dict[str, dict[str, Any]] = {
    "32m": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    },
    "135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES, "starter"], default="32m")
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data/alpaca_en_demo.json"))
    parser.add_argument("--only", choices=["tailor", "trainer", "trainer_grouped_bf16"])
    parser.add_argument("--run-folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run_folder is not None:
        measure = {"tailor": with_tailor, "trainer": with_trainer}.get(
            arguments.only, with_tuned_trainer
        )
        print(json.dumps(measure(arguments.run_folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = prepare(Path(name), arguments.shape, arguments.rows, arguments.data)
        results = {
            kind: in_own_process(kind, folder)
            for kind in ("trainer", "trainer_grouped_bf16", "tailor")
            if arguments.only in {None, kind}
        }
    show(results)


def prepare(folder: Path, shape: str, rows: int, data: Path) -> Path:
    """Write a base model and a run folder with the examples."""
    from tests.support.run_folders import conversation, make_run_folder, recipe_for

    starter = REPOSITORY / "app" / "base_models" / "starter"
    base = starter if shape == "starter" else random_llama(folder / "base", SHAPES[shape], starter)
    examples = json.loads(data.read_text(encoding="utf-8"))[:rows]
    conversations = [
        conversation(
            number,
            f"{entry['instruction']}\n{entry.get('input', '')}".strip(),
            entry["output"],
        )
        for number, entry in enumerate(examples)
    ]
    recipe = recipe_for(
        base,
        method_settings={"rank": 16, "alpha": 32},
        learning_rate=1e-3,
        epochs=1,
        examples_per_update=EXAMPLES_PER_UPDATE,
        max_tokens_per_example=1024,
        seconds_between_checkpoints=3600,
    )
    return make_run_folder(folder / "run", recipe, conversations)


def random_llama(folder: Path, shape: dict[str, Any], tokenizer_folder: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **shape,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def in_own_process(kind: str, folder: Path) -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, __file__, "--only", kind, "--run-folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
    )
    if output.returncode != 0:
        raise SystemExit(output.stderr)
    result: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return result


def with_tailor(folder: Path) -> dict[str, float]:
    from worker.training.process import keep_memory, share_the_processor

    share_the_processor()
    keep_memory()
    from tests.support.training_events import prepared_run

    run, _ = prepared_run(folder)
    started, processor = time.perf_counter(), time.process_time()
    run.train()
    return {
        "tokens": run.state.tokens_seen,
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "loss": run.state.last_epoch_loss,
        "peak_megabytes": run.state.peak_memory_bytes / 1024**2,
    }


def with_trainer(folder: Path) -> dict[str, float]:
    return _trainer(folder, dtype="float32", group_by_length=False)


def with_tuned_trainer(folder: Path) -> dict[str, float]:
    return _trainer(folder, dtype="bfloat16", group_by_length=True)


def _trainer(folder: Path, *, dtype: str, group_by_length: bool) -> dict[str, float]:
    """The plain way: what a person writes who follows the documentation."""
    import resource

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from app.runs.recipe import Recipe
    from worker.training.chat_templates import ChatFormat
    from worker.training.examples import read_examples
    from worker.training.model import load_tokenizer

    recipe = Recipe.read(folder)
    chat = ChatFormat(load_tokenizer(recipe))
    rows = [
        row
        for row in chat.encode(
            [example.messages for example in read_examples(folder / "data" / "train.jsonl")]
        )
        if row is not None
    ]
    limit = recipe.max_tokens_per_example
    data: Any = [
        {
            "input_ids": row.ids[:limit],
            "attention_mask": [1] * len(row.ids[:limit]),
            "labels": [
                token if learned else -100
                for token, learned in zip(row.ids[:limit], row.mask[:limit], strict=True)
            ],
        }
        for row in rows
    ]
    model: Any = AutoModelForCausalLM.from_pretrained(
        recipe.base_model_folder, dtype=getattr(torch, dtype)
    )
    model = get_peft_model(
        model,
        LoraConfig(
            r=int(recipe.method_settings["rank"]),
            lora_alpha=int(recipe.method_settings["alpha"]),
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=EXAMPLES_PER_UPDATE,
            num_train_epochs=1,
            learning_rate=recipe.learning_rate,
            save_strategy="no",
            report_to=[],
            logging_steps=1000,
            train_sampling_strategy="group_by_length" if group_by_length else "random",
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
        ),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(chat.tokenizer),
    )
    started, processor = time.perf_counter(), time.process_time()
    outcome = trainer.train()
    return {
        "tokens": sum(len(entry["input_ids"]) for entry in data),
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "loss": outcome.training_loss,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def show(results: dict[str, dict[str, float]]) -> None:
    print(f"{'':22}{'tokens/s':>10}{'per CPU s':>11}{'loss':>8}{'peak MB':>9}")
    for kind, result in results.items():
        speed = result["tokens"] / result["seconds"]
        per_processor = result["tokens"] / result["processor_seconds"]
        print(
            f"{kind:22}{speed:10.0f}{per_processor:11.0f}"
            f"{result['loss']:8.3f}{result['peak_megabytes']:9.0f}"
        )
    if "tailor" in results:
        ours = results["tailor"]
        for kind in results.keys() - {"tailor"}:
            theirs = results[kind]
            ratio = (ours["tokens"] / ours["seconds"]) / (theirs["tokens"] / theirs["seconds"])
            print(f"Tailor is {ratio:.2f} times as fast as {kind}.")


if __name__ == "__main__":
    main()
