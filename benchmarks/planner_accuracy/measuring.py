"""Trains a combination for a few updates, and measures this machine: each in its own process."""

import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from app.runs.methods import METHODS
from app.runs.objectives import OBJECTIVES
from benchmarks.planner_accuracy.combinations import COMBINATIONS, Combination
from benchmarks.shapes import SHAPES

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STARTER: Final = REPOSITORY / "app" / "base_models" / "starter"
_WORDS: Final = tuple("the tailor cuts a piece of blue cloth for a long winter coat".split())  # noqa: SIM905


def main() -> None:
    """`… measuring FOLDER [NAME]`: print what was measured as one line of JSON."""
    folder, *names = sys.argv[1:]
    found = _train(Path(folder), names[0]) if names else _trial(Path(folder))
    print(json.dumps(found))


def _trial(folder: Path) -> dict[str, Any]:
    _prepare_process()
    from worker.device_trial.main import measure

    started = time.monotonic()
    constants = measure(_number_format(folder).itemsize).model_dump(mode="json")
    return constants | {"trial_seconds": time.monotonic() - started}


def _train(folder: Path, name: str) -> dict[str, Any]:
    _prepare_process()
    _number_format(folder)
    combination = next(one for one in COMBINATIONS if one.name == name)
    run_folder = _prepare_run(folder, combination)
    from worker.training.loop import TrainingRun
    from worker.training.stopping import StopFlag

    events = _TimedEvents()
    run = TrainingRun(run_folder, 1, events, StopFlag())
    run.setup()
    clock, wall = time.thread_time(), time.perf_counter()
    run.train()
    seconds = time.thread_time() - clock + events.base_seconds
    seconds += run.objective.lanes.busy_seconds
    wall_seconds = time.perf_counter() - wall
    run.cleanup()
    table = run.tables.train
    learned = [int(table.row(item, 0)[1].sum()) for item in range(len(table))]
    return {
        "name": name,
        "memory_bytes": events.peak_memory_bytes,
        "seconds": seconds,
        "wall_seconds": wall_seconds,
        "longest": int(table.lengths.max()),
        "average": float(table.lengths.mean()),
        "rows": len(table),
        "answer_share": sum(learned) / float(table.lengths.sum()) * table.rows_per_item,
        "settings": run.recipe.method_settings,
    }


def _prepare_process() -> None:
    from worker.training.process import (
        forget_old_shapes,
        keep_memory,
        share_the_processor,
        stay_offline,
    )

    stay_offline()
    share_the_processor()
    forget_old_shapes()
    keep_memory()


def _number_format(folder: Path) -> Any:  # noqa: ANN401 (torch is imported late)
    from worker.training.precision import NOTEBOOK, Numbers

    return Numbers.choose(folder / NOTEBOOK).dtype


def _prepare_run(folder: Path, combination: Combination) -> Path:
    from tests.support.run_folders import make_run_folder, recipe_for

    base = folder / combination.shape
    recipe = recipe_for(
        base,
        method=combination.method,
        method_settings=combination.settings,
        objective=combination.objective,
        learning_rate=1e-3 * METHODS[combination.method].learning_rate_factor,
        epochs=1,
        examples_per_update=combination.rows,
        tokens_per_micro_batch=combination.at_once,
        max_tokens_per_example=2048,
        seconds_between_checkpoints=3600,
    )
    texts = _Texts(base)
    count = combination.rows * combination.updates
    examples = [
        texts.example(number, combination, round(combination.length * (1 - number % 8 / 24)))
        for number in range(count)
    ]
    return make_run_folder(folder / "run", recipe, examples)


class _TimedEvents:
    """Takes note of what is needed of a run's events."""

    def __init__(self) -> None:
        self.peak_memory_bytes = 0
        self.base_seconds = 0.0
        self._asked_since: float | None = None

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON values of any kind)
        if event == "phase" and fields["phase"] == "measuring_base":
            self._asked_since = time.thread_time()
        if event == "plan" and self._asked_since is not None:
            # Preferences ask the base model about all examples before they begin to learn.
            self.base_seconds = time.thread_time() - self._asked_since
        if event == "result":
            self.peak_memory_bytes = fields["peak_memory_bytes"]


class _Texts:
    """Words at random, in examples of as many tokens as asked for, half of them answer."""

    def __init__(self, base: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self._random = random.Random(1)  # noqa: S311 (nothing secret)
        self._frame = self._count(self._chat("", ""))

    def example(self, number: int, combination: Combination, tokens: int) -> dict[str, Any]:
        half = max(1, (tokens - self._frame) // 2)
        question, answer, other = (self._words(half) for _ in range(3))
        if OBJECTIVES[combination.objective].prefers:
            asked = [{"role": "user", "content": question}]
            return {"id": number, "prompt": asked, "chosen": answer, "rejected": other}
        return {"id": number, "messages": self._chat(question, answer)}

    def _chat(self, question: str, answer: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]

    def _count(self, messages: list[dict[str, str]]) -> int:
        return len(self._tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"])

    def _words(self, tokens: int) -> str:
        words = " ".join(self._random.choice(_WORDS) for _ in range(tokens))
        ids = self._tokenizer(words, add_special_tokens=False)["input_ids"][:tokens]
        text: str = self._tokenizer.decode(ids).strip()
        return text


def make_bases(folder: Path) -> None:
    """Write a base model with random weights for each shape; in a process of its own."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(STARTER)
    for name in sorted({combination.shape for combination in COMBINATIONS}):
        shape = SHAPES[name]
        torch.manual_seed(0)
        config = LlamaConfig(
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            **shape,
        )
        model: Any = LlamaForCausalLM(config)
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


if __name__ == "__main__":
    main()
