"""What the planner foretells beside what then happens.

    python benchmarks/planner_accuracy.py

First the trial of worker/device_trial measures this machine, in a process of its own. Then, for
each combination of shape, length of rows and rank, a base model with random weights is really
trained for a few updates by Tailor's loop, each in a process of its own. Memory is the peak that
the loop reports of its own process (the resident set's high-water mark, libraries included). Time
is processor time of the updates, divided by the number of threads, on both sides, because other
programs may be busy on the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
STARTER = REPOSITORY / "app" / "base_models" / "starter"
EXAMPLES_PER_UPDATE = 8
UPDATES = 4
SHAPES: dict[str, dict[str, int]] = {
    "4 M": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
    },
    "12 M": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
    "32 M": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    },
    "44 M": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
}
COMBINATIONS = [
    (shape, length, rank) for shape in SHAPES for length, rank in ((64, 16), (192, 8), (448, 32))
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", type=int, default=len(COMBINATIONS))
    arguments = parser.parse_args()
    if arguments.child:
        kind, argument = arguments.child
        print(json.dumps(CHILDREN[kind](Path(argument))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = in_own_process("trial", folder)
        print(json.dumps(measured))
        print(f"{'shape':8}{'tokens':>8}{'rank':>6}{'MB said':>9}{'MB':>7}{'s said':>8}{'s':>7}")
        worst = [0.0, 0.0]
        for shape, length, rank in COMBINATIONS[: arguments.only]:
            run_folder = prepare(folder / f"{shape}-{length}-{rank}", shape, length, rank)
            took = in_own_process("training", run_folder)
            said = foretold(run_folder, measured, took)
            off = [said[key] / took[key] - 1 for key in ("memory", "seconds")]
            worst = [max(worst[i], abs(off[i])) for i in range(2)]
            print(
                f"{shape:8}{took['longest']:8.0f}{rank:6}"
                f"{said['memory'] / 1e6:9.0f}{took['memory'] / 1e6:7.0f}"
                f"{said['seconds']:8.2f}{took['seconds']:7.2f}"
                f"   {off[0]:+.0%} {off[1]:+.0%}  kept {took['kept_after'] / 1e6:.0f}",
                flush=True,
            )
        print(f"Worst: memory {worst[0]:.0%}, time {worst[1]:.0%}.")


def in_own_process(kind: str, folder: Path) -> dict[str, Any]:
    output = subprocess.run(
        [sys.executable, __file__, "--child", kind, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
    )
    if output.returncode != 0:
        raise SystemExit(output.stderr)
    result: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return result


def _prepare_process() -> Callable[[], float]:
    """Set up the process as a training's, and return the clock."""
    from worker.training.process import keep_memory, share_the_processor

    share_the_processor()
    keep_memory()
    import torch

    threads = torch.get_num_threads()
    return lambda: time.process_time() / threads


def trial(folder: Path) -> dict[str, Any]:
    clock = _prepare_process()
    from worker.device_trial.main import measure
    from worker.training.precision import NOTEBOOK, Numbers

    size = int(Numbers.choose(folder / NOTEBOOK).dtype.itemsize)
    return measure(size, clock).model_dump(mode="json")


def training(run_folder: Path) -> dict[str, Any]:
    clock = _prepare_process()
    from tests.support.training_events import prepared_run
    from worker.training.precision import NOTEBOOK
    from worker.training.progress import memory_bytes

    notebook = run_folder.parent.parent / NOTEBOOK
    (run_folder.parent / NOTEBOOK).write_bytes(notebook.read_bytes())
    run, events = prepared_run(run_folder)
    started = clock()
    run.train()
    seconds = clock() - started
    run.cleanup()
    lengths = run.tables.train.lengths
    return {
        "memory": events.only("result")["peak_memory_bytes"],
        "seconds": seconds,
        "longest": int(lengths.max()),
        "average": float(lengths.mean()),
        "rows": len(lengths),
        "kept_after": memory_bytes(run.numbers.device),
    }


CHILDREN: dict[str, Callable[[Path], dict[str, Any]]] = {"trial": trial, "training": training}


def foretold(run_folder: Path, measured: dict[str, Any], took: dict[str, Any]) -> dict[str, float]:
    from app.base_models.files import read_measures
    from app.runs.device_constants import DeviceConstants
    from app.runs.planner import Work, peak_memory, training_seconds
    from app.runs.recipe import Recipe

    recipe = Recipe.read(run_folder)
    shape = read_measures(recipe.base_model_folder)
    if shape is None:
        raise SystemExit("The base model's measures cannot be read.")
    constants = DeviceConstants.model_validate(measured)
    work = Work(
        row_tokens=took["average"],
        longest_row=took["longest"],
        examples=took["rows"],
        examples_per_update=EXAMPLES_PER_UPDATE,
        settings=recipe.method_settings,
        answer_share=0.5,
    )
    return {
        "memory": peak_memory(shape, work, constants).total,
        "seconds": training_seconds(shape, work, constants) - constants.start_seconds,
    }


def prepare(folder: Path, shape: str, length: int, rank: int) -> Path:
    """Write a base model and a run folder with rows of about so many tokens."""
    from tests.support.run_folders import conversation, make_run_folder, recipe_for

    base = random_llama(folder / "base", SHAPES[shape])
    words = "the quick brown tailor cuts a piece of blue cloth for the long winter coat "
    half = (words * (length // 10))[: int(length * 2.1)]
    recipe = recipe_for(
        base,
        method_settings={"rank": rank},
        epochs=1,
        examples_per_update=EXAMPLES_PER_UPDATE,
        max_tokens_per_example=length,
        seconds_between_checkpoints=3600,
    )
    examples = [
        conversation(number, half[number:], half) for number in range(EXAMPLES_PER_UPDATE * UPDATES)
    ]
    return make_run_folder(folder / "run", recipe, examples)


def random_llama(folder: Path, shape: dict[str, int]) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(STARTER)
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


if __name__ == "__main__":
    main()
