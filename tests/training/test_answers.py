"""Questions that are answered together are answered as each would be alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.runs.methods import Method
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import CONTEXT, KINDS, make_tiny_model
from tests.support.training_events import prepared_run
from worker.training.answers import CUT_OFF, answers_to
from worker.training.failures import TrainingFailureError
from worker.training.loop import TrainingRun
from worker.training.questions import SampleQuestion

# In fewer bits the words of a model that says anything at random hang on the last rounding.
pytestmark = pytest.mark.usefixtures("in_float32")

# The last one is longer than the window of the models that have one, together with its answer.
WORDS = ("What is 5?", "Hello there. What is 5 and 6?", "It is so. " * 5 + "What is 7?")


class Passes:
    """Counts how often a model is gone through."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.count = 0
        model.register_forward_pre_hook(self._note)

    def _note(self, *_: Any) -> None:  # noqa: ANN401 (whatever the model is called with)
        self.count += 1


def prepared(folder: Path, kind: str, **changes: Any) -> TrainingRun:  # noqa: ANN401
    base = make_tiny_model(folder / "base", kind)
    recipe = recipe_for(base, epochs=1, **changes)
    run, _ = prepared_run(make_run_folder(folder / "run", recipe, sums(8), sums(4, first=50)))
    run.model.eval()
    return run


def questions(run: TrainingRun) -> list[SampleQuestion]:
    return [
        SampleQuestion(words, "", run.chat.encode_prompt([{"role": "user", "content": words}]), 20)
        for words in WORDS
    ]


def answers(
    run: TrainingRun, tokens_at_once: int, asked: list[SampleQuestion] | None = None
) -> dict[int, str]:
    said = answers_to(
        asked or questions(run),
        run.learner,
        run.objective,
        tokens_at_once=tokens_at_once,
        seconds=60,
        check_stop=lambda: None,
    )
    return {place: answer.shown for place, answer in said}


def greedy(run: TrainingRun, prompt: list[int]) -> list[int]:
    base: Any = run.learner.base
    front = run.learner.front
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(20):
            read = {"input_ids": ids} if front is None else front.inputs(ids)
            following = base(**read).logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, following], dim=1)
    return ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "granite_4"])
def test_each_kind_of_model_says_the_same(kind: str, tmp_path: Path) -> None:
    run = prepared(tmp_path, kind)
    passes = Passes(run.learner.base)
    alone = answers(run, 0)
    each = passes.count
    assert answers(run, 10_000) == alone
    assert passes.count - each < each
    assert len(set(alone.values())) == len(WORDS)


@pytest.mark.parametrize("method", [Method.PREFIX_TUNING, Method.PROMPT_TUNING])
def test_virtual_tokens_stand_before_each_of_them(method: Method, tmp_path: Path) -> None:
    run = prepared(tmp_path, "llama", method=method, method_settings={})
    with torch.no_grad():
        for weight in run.learner.weights.values():
            weight.mul_(3.0)
    alone = answers(run, 0)
    assert answers(run, 10_000) == alone
    with run.learner.as_base():
        assert answers(run, 10_000) == answers(run, 0) != alone


@pytest.mark.parametrize("kind", ["bloom", "granite_4"])
def test_models_without_positions_or_with_a_state_are_asked_one_by_one(
    kind: str, tmp_path: Path
) -> None:
    run = prepared(tmp_path, kind)
    passes = Passes(run.learner.base)
    alone = answers(run, 0)
    each = passes.count
    assert answers(run, 10_000) == alone
    assert passes.count == 2 * each


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("mamba", Method.FULL),
        ("rwkv", Method.LORA),
        ("recurrent_gemma", Method.LORA),
        ("lfm2", Method.LORA),
        ("lfm2", Method.PROMPT_TUNING),
    ],
)
def test_models_with_a_memory_of_their_own_kind_say_what_they_would_without_one(
    kind: str, method: Method, tmp_path: Path
) -> None:
    run = prepared(tmp_path, kind, method=method, method_settings={})
    run.chat.stop_ids = frozenset()
    asked = questions(run)
    said = answers(run, 10_000, asked)
    for place, question in enumerate(asked):
        written = greedy(run, question.prompt_ids)
        words = str(run.chat.tokenizer.decode(written, skip_special_tokens=True))
        assert said[place] == words.strip() + CUT_OFF


@pytest.mark.parametrize("kind", ["mamba", "recurrent_gemma"])
def test_virtual_tokens_need_a_memory_into_which_they_can_be_read(
    kind: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailureError, match="a form of its own") as caught:
        prepared(tmp_path, kind, method=Method.PROMPT_TUNING, method_settings={})
    assert caught.value.code == "method_unsuited"


def test_no_more_are_asked_at_once_than_memory_is_promised_for(tmp_path: Path) -> None:
    run = prepared(tmp_path, "llama")
    rows: list[int] = []
    run.learner.base.register_forward_pre_hook(
        lambda _model, _given, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    second = sorted(len(question.prompt_ids) for question in questions(run))[1] + 20
    answers(run, 2 * second)
    assert set(rows) == {1, 2}


def test_each_ends_by_itself_and_what_is_too_long_is_cut(tmp_path: Path) -> None:
    run = prepared(tmp_path, "llama")
    open_ended = answers(run, 10_000)
    assert all(said.endswith(CUT_OFF) for said in open_ended.values())
    # A word that not all of them contain ends answers from now on.
    written = [greedy(run, question.prompt_ids) for question in questions(run)]
    word = next(token for token in written[2] if token not in written[0] + written[1])
    run.chat.stop_ids = frozenset({word})
    ended = answers(run, 10_000)
    assert not ended[2].endswith(CUT_OFF)
    assert open_ended[2].startswith(ended[2])
    assert any(said.endswith(CUT_OFF) for said in ended.values())
    assert ended == answers(run, 0)


def test_an_answer_that_is_over_does_not_walk_beyond_what_the_model_can_read(
    tmp_path: Path,
) -> None:
    run = prepared(tmp_path, "gpt2")
    short, _, long = questions(run)
    # Both fit into what the model reads; the places of one and the words of the other would not.
    room = CONTEXT - len(long.prompt_ids)
    assert 0 < room < CONTEXT - len(short.prompt_ids)
    asked = [replace(long, most_tokens=room), replace(short, most_tokens=room + 20)]
    assert answers(run, 10_000, asked) == answers(run, 0, asked)
