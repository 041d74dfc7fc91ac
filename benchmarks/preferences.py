"""Do answers become what people like? Preferences learned with and without the liked answers.

    python -m benchmarks.preferences

The built-in base model and the sample "A brand's voice": an answer with the shop's sign-off is the
better one, the same answer without it the worse one; 80 pairs (or as many thumbs, half of them up)
are learned from, 20 other questions are answered at the end. What counts is how many of these end
with the sign-off, and how many are the sample's own answer to the letter.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.runs.objectives import OBJECTIVES, Objective

REPOSITORY: Final = Path(__file__).resolve().parents[1]
STARTER: Final = REPOSITORY / "app" / "base_models" / "starter"
SAMPLE: Final = REPOSITORY / "app" / "projects" / "samples" / "brand_voice" / "examples.jsonl"
SIGN_OFF: Final = " Kettle's on, friend! Warm cups, slow days."
LEARNED: Final = 80
ASKED: Final = 20
STARTER_RATE: Final = 0.0046

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One training."""

    objective: Objective
    settings: JsonObject
    rate_factor: float
    epochs: int


def main() -> None:
    _use_one_thread()
    print("| objective | learning the liked answers | learning rate | passes | signed | exact |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for case in _cases():
        signed, exact = _train(case)
        weight = case.settings.get("answer_weight", "always")
        print(
            f"| {case.objective.upper()} | {weight} | {STARTER_RATE * case.rate_factor:.2g} "
            f"| {case.epochs} | {signed} of {ASKED} | {exact} of {ASKED} |",
            flush=True,
        )


def _cases() -> Iterator[Case]:
    for objective in (Objective.DPO, Objective.KTO):
        for weight, factor in ((0.0, 0.2), (1.0, 0.2), (1.0, 0.5)):
            yield Case(objective, {"answer_weight": weight}, factor, 10)
    yield Case(Objective.ORPO, {}, OBJECTIVES[Objective.ORPO].learning_rate_factor, 10)


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    from worker.training.process import keep_memory, share_the_processor, stay_offline

    stay_offline()
    share_the_processor()
    keep_memory()


def _train(case: Case) -> tuple[int, int]:
    """Return how many answers are signed, and how many are right to the letter."""
    from tests.support.run_folders import make_run_folder, recipe_for
    from tests.support.training_events import prepared_run

    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    lines = [_line(number, row, case.objective) for number, row in enumerate(rows)]
    recipe = recipe_for(
        STARTER,
        objective=case.objective,
        objective_settings=case.settings,
        learning_rate=STARTER_RATE * case.rate_factor,
        epochs=case.epochs,
        examples_per_update=2,
        method_settings={"rank": 8, "alpha": 32, "dropout": 0.0},
        max_tokens_per_example=1024,
        seconds_between_checkpoints=3600,
    )
    with tempfile.TemporaryDirectory() as folder:
        learned, held_out = lines[:LEARNED], lines[LEARNED : LEARNED + ASKED]
        run, _ = prepared_run(make_run_folder(Path(folder) / "run", recipe, learned, held_out))
        run.evaluator.samples = []
        run.train()
        run.cleanup()
        said = [_answer(run, row["question"]) for row in rows[LEARNED : LEARNED + ASKED]]
    own = [row["answer"] for row in rows[LEARNED : LEARNED + ASKED]]
    return (
        sum(SIGN_OFF.strip() in answer for answer in said),
        sum(answer == expected for answer, expected in zip(said, own, strict=True)),
    )


def _line(number: int, row: JsonObject, objective: Objective) -> JsonObject:
    prompt = [{"role": "user", "content": row["question"]}]
    bare = row["answer"].replace(SIGN_OFF, "")
    if objective is Objective.KTO:
        is_liked = number % 2 == 0
        answer = row["answer"] if is_liked else bare
        return {"id": number, "prompt": prompt, "answer": answer, "liked": is_liked}
    return {"id": number, "prompt": prompt, "chosen": row["answer"], "rejected": bare}


def _answer(run: Any, question: str) -> str:  # noqa: ANN401 (a TrainingRun, imported late)
    from worker.training.answers import answer

    run.model.eval()
    prompt = run.chat.encode_prompt([{"role": "user", "content": question}])
    return answer(run.model, run.chat, prompt, most_tokens=80)


if __name__ == "__main__":
    main()
