"""Are the preset rules right? Trainings around what they choose, and a table that says.

    python -m benchmarks.preset_sweep --results /tmp/sweep
    python -m benchmarks.preset_sweep --results /tmp/sweep --small          # for a nightly job
    python -m benchmarks.preset_sweep --results benchmarks/preset_sweep --table-only
    python -m benchmarks.preset_sweep --results /tmp/samples --samples      # with answers to read

Each training is a process of its own that runs Tailor's loop, one at a time and on one thread: a
held-out loss does not depend on how fast it was reached, so other work on the machine may go on.
What is done is kept in the results' folder and skipped the next time. Tailor Starter is always
there; other base models are named with --model NAME=FOLDER.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.runs.recipe import Preset
from benchmarks.preset_sweep.data import REPOSITORY
from benchmarks.preset_sweep.design import Result, next_trials
from benchmarks.preset_sweep.results import Results
from benchmarks.preset_sweep.rules import chosen_by_rules
from benchmarks.preset_sweep.table import Comparison, compare, markdown
from benchmarks.preset_sweep.trial import Bench, Trial, train_in_a_fork

STARTER: Final = REPOSITORY / "app" / "base_models" / "starter"
SHARED: Final = Path("/work/shared/data")
SAMPLES: Final = ("voice", "tickets", "reports")
CASES: Final = (
    *(*SAMPLES, "voice@20#0", "tickets@20#0", "alpaca@20#0", "alpaca@200"),
    *("kinds@1000", "kinds@10000", "manual", "web@100"),
)
SMALL_CASES: Final = ("tickets@20#0", "voice@20#0")


def main() -> None:
    arguments = _arguments()
    _use_one_thread()
    preset = Preset(arguments.preset)
    results = Results(arguments.results)
    with tempfile.TemporaryDirectory(prefix="preset-sweep-") as work:
        models = {"starter": STARTER, **dict(map(_named_folder, arguments.model))}
        bench = Bench(models, arguments.shared, Path(work))
        if arguments.samples:
            for case in SAMPLES:
                _ask_sample(chosen_by_rules(bench, "starter", case, preset), bench, results)
            return
        cases = arguments.case or (SMALL_CASES if arguments.small else CASES)
        chosen = [chosen_by_rules(bench, model, case, preset) for model in models for case in cases]
        for trial in () if arguments.table_only else chosen:
            _sweep(trial, bench, results, is_small=arguments.small)
        print(markdown(_comparisons(chosen, results)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="folder of results.jsonl")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the files to try by hand")
    parser.add_argument("--preset", choices=list(Preset), default=Preset.BALANCED)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--case", action="append", metavar="NAME[@ROWS[#DRAW]]")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--samples", action="store_true")
    return parser.parse_args()


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def _use_one_thread() -> None:
    """Import all that is heavy, once, before there is anything that a fork could not take over."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from worker.training.process import keep_memory, share_the_processor, stay_offline

    stay_offline()
    share_the_processor()
    keep_memory()
    import torch

    import worker.training.loop  # noqa: F401 (for the forks)

    torch.set_num_threads(1)


def _sweep(chosen: Trial, bench: Bench, results: Results, *, is_small: bool) -> None:
    """Train until the design has nothing more to ask."""
    while missing := next_trials(chosen, results.of(chosen.model, chosen.case), small=is_small):
        for trial in missing:
            _say(results.add(trial, train_in_a_fork(trial, bench)))


def _ask_sample(chosen: Trial, bench: Bench, results: Results) -> None:
    """Train a sample project as the product does, and show what it answers."""
    result = results.add(chosen, train_in_a_fork(chosen, bench, asks=True))
    _say(result)
    for question, expected, said in result.figures.get("answers", ()):
        if said != expected:
            print(f"  asked:    {question}\n  expected: {expected}\n  answered: {said}\n")


def _say(result: Result) -> None:
    figures = result.figures
    print(
        f"{result.trial.model} {result.trial.case} seed {result.trial.seed} "
        f"{result.trial.settings}: "
        + (
            figures.get("error")
            or f"{figures['before']:.3f} -> {figures['after']:.4f} "
            f"in {figures['seconds']:.0f} s, right {figures.get('right', '-')} "
            f"of {figures.get('asked', '-')}"
        ),
        flush=True,
    )


def _comparisons(chosen: list[Trial], results: Results) -> Iterator[Comparison]:
    for trial in chosen:
        comparison = compare(trial, results.of(trial.model, trial.case))
        if comparison is not None:
            yield comparison


if __name__ == "__main__":
    main()
