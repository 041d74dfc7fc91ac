"""One training with given settings, through Tailor's own loop, and what came of it."""

import json
import os
import shutil
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.preset_sweep.data import JsonObject, Split, read_case

_MOST_ANSWER_TOKENS: Final = 120
_MOST_TOKENS: Final = 1024


@dataclass(frozen=True)
class Settings:
    """What the sweep varies; the names are those of the recipe."""

    learning_rate: float
    rank: int
    epochs: int
    examples_per_update: int
    alpha: int = 0
    """0 stands for twice the rank, as the rules have it."""
    warmup_fraction: float = 0.05
    weight_decay: float = 0.0
    dropout: float = 0.0
    evaluations: int = 5


@dataclass(frozen=True)
class Trial:
    """A training of the sweep: a base model's name, a case, settings and a seed."""

    model: str
    case: str
    settings: Settings
    seed: int = 42

    @classmethod
    def from_json(cls, content: JsonObject) -> Self:
        return cls(
            content["model"],
            content["case"],
            Settings(**content["settings"]),
            content["seed"],
        )

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """Where the trials find what they need.

    Attributes:
        models: the base models' folders, by name.
        shared: the folder with the files to try by hand.
        work: where the run folders are made, and removed again.
    """

    models: dict[str, Path]
    shared: Path
    work: Path


def train_in_a_fork(trial: Trial, bench: Bench, *, asks: bool = False) -> JsonObject:
    """Train in a process of its own, which need not import anything again.

    Args:
        trial: what to do.
        bench: where to do it.
        asks: whether the held-out questions are answered too, which takes its time.

    Returns:
        The figures, or an `error`.
    """
    handle, name = tempfile.mkstemp(dir=bench.work)
    os.close(handle)
    outcome = Path(name)
    child = os.fork()
    if child == 0:
        try:
            result = train(trial, bench, asks=asks)
        except Exception:  # noqa: BLE001 (a trial that fails is a result too)
            result = {"error": traceback.format_exc().splitlines()[-1]}
        outcome.write_text(json.dumps(result), encoding="utf-8")
        os._exit(0)
    os.waitpid(child, 0)
    text = outcome.read_text(encoding="utf-8")
    outcome.unlink()
    ended: JsonObject = json.loads(text) if text else {"error": "The process was killed."}
    return ended


def train(trial: Trial, bench: Bench, *, asks: bool) -> JsonObject:
    """Train in this process and return the figures."""
    from tests.support.run_folders import make_run_folder
    from tests.support.training_events import prepared_run

    split = read_case(trial.case, bench.shared)
    folder = Path(tempfile.mkdtemp(dir=bench.work))
    try:
        make_run_folder(folder / "run", _recipe(trial, bench), split.train, split.held_out)
        run, events = prepared_run(folder / "run")
        # The three answers that are shown at each evaluation are for people.
        run.evaluator.samples = []
        started, processor = time.perf_counter(), time.process_time()
        run.train()
        result = {
            "before": run.state.loss_before,
            "after": run.state.best_loss,
            "best_step": run.state.best_step,
            "steps": run.state.step,
            "tokens": run.state.tokens_seen,
            "seconds": round(time.perf_counter() - started, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "train_rows": len(split.train),
            "held_out_rows": len(split.held_out),
            "curve": [
                [entry["step"], entry["values"]["validation_loss"]]
                for entry in events.of("metrics")
                if "validation_loss" in entry["values"]
            ],
        }
        if asks:
            run.cleanup()
            result |= _answers(run, split)
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _recipe(trial: Trial, bench: Bench) -> Any:  # noqa: ANN401 (imported late, with torch)
    from tests.support.run_folders import recipe_for

    settings = asdict(trial.settings)
    rank, alpha = settings.pop("rank"), settings.pop("alpha")
    method_settings = {
        "rank": rank,
        "alpha": alpha or 2 * rank,
        "dropout": settings.pop("dropout"),
    }
    return recipe_for(
        bench.models[trial.model],
        seed=trial.seed,
        method_settings=method_settings,
        max_tokens_per_example=_MOST_TOKENS,
        seconds_between_checkpoints=3600,
        **settings,
    )


def _answers(run: Any, split: Split) -> JsonObject:  # noqa: ANN401 (a TrainingRun)
    """Answer all held-out questions; an answer is right if it is as expected to the letter."""
    from worker.training.answers import answer

    run.model.eval()
    answers = []
    for row in split.held_out:
        *history, expected = row["messages"]
        said = answer(
            run.model,
            run.chat,
            run.chat.encode_prompt(history),
            most_tokens=_MOST_ANSWER_TOKENS,
        )
        answers.append([history[-1]["content"], expected["content"], said])
    right = sum(said == expected for _, expected, said in answers)
    return {"right": right, "asked": len(answers), "answers": answers}
