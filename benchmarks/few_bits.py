"""What it costs and saves to hold the base model in few bits: memory, time, and how well it learns.

    python -m benchmarks.few_bits
    python -m benchmarks.few_bits --model /path/to/a/model --case alpaca@200 --epochs 1

One training for each form, each in a process of its own, on the same examples with the same
settings. What was learned is measured twice: on the base model as it was held while it learned, and
on the base model as it is, which is how Tailor's chat and the download answer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from app.runs.methods import Quantization
from benchmarks.preset_sweep.__main__ import SHARED, STARTER
from benchmarks.preset_sweep.data import read_case

_RATE: Final = 4.6e-3


def main() -> None:
    arguments = _arguments()
    if arguments.form:
        print(json.dumps(measure(Quantization(arguments.form), arguments)))
        return
    print("| Base model held in | weights | peak of the process | seconds | loss before | ", end="")
    print("loss after | on the base model as it is |\n| --- " + "| --- " * 6 + "|")
    for form in Quantization:
        command = [sys.executable, "-m", "benchmarks.few_bits", *sys.argv[1:], "--form", form.value]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"| {found['form']} | {found['weights'] / 1e6:,.1f} MB | {found['peak'] / 1e6:,.0f} MB "
            f"| {found['seconds']:.0f} | {found['before']:.4f} | {found['after']:.4f} "
            f"| {found['on_the_whole']:.4f} |",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--case", default="tickets", metavar="NAME[@ROWS]")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=_RATE)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--shared", type=Path, default=SHARED, help="the files to try by hand")
    parser.add_argument("--form", help="measure this form alone, and print JSON")
    return parser.parse_args()


def measure(form: Quantization, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in this process, and measure what was learned on both forms of the base model."""
    from worker.training.progress import peak_memory_bytes

    with tempfile.TemporaryDirectory(prefix="few-bits-") as work:
        run = _prepared(Path(work) / "run", form, arguments)
        started = time.perf_counter()
        run.train()
        seconds = time.perf_counter() - started
        peak = peak_memory_bytes(run.numbers.device)
        result = {
            "form": f"{form.value}, {run.numbers.dtype}" if form is Quantization.NONE else form,
            "weights": _held_bytes(run.learner.base),
            "peak": peak,
            "seconds": seconds,
            "before": run.state.loss_before,
            "after": run.evaluator.measure().loss,
        }
        whole = _prepared(Path(work) / "whole", Quantization.NONE, arguments)
        for name, weight in whole.weights.items():
            weight.data.copy_(run.weights[name].data)
        return result | {"on_the_whole": whole.evaluator.measure().loss}


def _prepared(folder: Path, form: Quantization, arguments: argparse.Namespace) -> Any:  # noqa: ANN401
    from tests.support.run_folders import make_run_folder, recipe_for
    from tests.support.training_events import prepared_run

    split = read_case(arguments.case, arguments.shared)
    recipe = recipe_for(
        arguments.model,
        seed=arguments.seed,
        quantization=form,
        method_settings={"rank": 16, "alpha": 32},
        learning_rate=arguments.rate,
        epochs=arguments.epochs,
        examples_per_update=8,
        max_tokens_per_example=1024,
        seconds_between_checkpoints=3600,
    )
    run, _ = prepared_run(make_run_folder(folder, recipe, split.train, split.held_out))
    # The answers that are shown at each evaluation are for people.
    run.evaluator.samples = []
    return run


def _held_bytes(model: Any) -> int:  # noqa: ANN401 (transformers' models share no type)
    """Count the bytes of the frozen weights and of what turns packed ones back into numbers."""
    total = 0
    for weight in model.parameters():
        if weight.requires_grad:
            continue
        total += weight.nbytes
        state = getattr(weight, "quant_state", None)
        if state is not None:
            total += state.absmax.nbytes + state.state2.absmax.nbytes
    return total


if __name__ == "__main__":
    main()
