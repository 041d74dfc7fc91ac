"""Run folders as the product makes them, and the training child as the worker starts it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.base_models.files import fingerprint
from app.runs.recipe import Preset, Recipe
from worker.training.examples import data_sha256

JsonObject = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]


def conversation(number: int, question: str, answer: str) -> JsonObject:
    return {
        "id": number,
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }


def sums(count: int, first: int = 0) -> list[JsonObject]:
    """Small conversations of different lengths that a model can learn."""
    return [
        conversation(i, f"What is {i} and {i % 7}?", f"It is {i + i % 7}." + " Yes." * (i % 5))
        for i in range(first, first + count)
    ]


def recipe_for(base_model: Path, **changes: Any) -> Recipe:  # noqa: ANN401 (fields of the recipe)
    settings: JsonObject = {
        "preset": Preset.QUICK,
        "base_model_id": "tiny",
        "base_model_name": "tiny model",
        "base_model_folder": base_model.resolve(),
        "base_model_fingerprint": fingerprint(base_model),
        "snapshot_sha256": "0" * 64,
        "method_settings": {"rank": 4, "alpha": 8},
        "learning_rate": 5e-3,
        "epochs": 2,
        "examples_per_update": 4,
        "max_tokens_per_example": 256,
        "evaluations": 2,
    }
    return Recipe(**{**settings, **changes})


def make_run_folder(
    folder: Path,
    recipe: Recipe,
    train: Sequence[JsonObject],
    validation: Sequence[JsonObject] = (),
) -> Path:
    (folder / "data").mkdir(parents=True)
    for name, examples in (("train", train), ("validation", validation)):
        lines = "".join(json.dumps(example) + "\n" for example in examples)
        (folder / "data" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    recipe = recipe.model_copy(update={"snapshot_sha256": data_sha256(folder)})
    (folder / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    return folder


def start_child(
    run_folder: Path,
    fence: int = 1,
    *,
    finishes: bool = False,
    largest_file: int | None = None,
    devices: int = 1,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start the real training process; its standard output is the stream of events."""

    def limit_files() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.Popen(
        [
            *(sys.executable, "-m", "worker.training.main"),
            *("--run-folder", str(run_folder), "--fence", str(fence)),
            *(["--finish"] if finishes else []),
            *(["--further-device=cpu"] * (devices - 1)),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit_files,  # noqa: PLW1509 (the tests start it from their main thread)
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def run_child(
    run_folder: Path,
    fence: int = 1,
    *,
    finishes: bool = False,
    largest_file: int | None = None,
    devices: int = 1,
    **environment: str,
) -> tuple[int, list[JsonObject], str]:
    """Run the child to its end; return its exit code, its events and its standard error."""
    with start_child(
        run_folder,
        fence,
        finishes=finishes,
        largest_file=largest_file,
        devices=devices,
        **environment,
    ) as child:
        output, errors = child.communicate(timeout=240)
    return child.returncode, [json.loads(line) for line in output.splitlines()], errors
