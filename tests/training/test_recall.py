"""The nothing-changed guard on a real, tiny model."""

from pathlib import Path
from typing import Any

import pytest

from app.runs.child_events import ResultEvent
from app.runs.recall import Cause, Unchanged, find_unchanged
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.training_events import RecordedEvents, train_here


def trained(base_model: Path, folder: Path, **changes: Any) -> RecordedEvents:  # noqa: ANN401
    recipe = recipe_for(base_model, epochs=20, evaluations=1, **changes)
    return train_here(make_run_folder(folder, recipe, sums(12), sums(4, first=50)))


def judged(events: RecordedEvents, learning_rate: float) -> Unchanged | None:
    # As the supervisor reads it.
    result = ResultEvent.model_validate(events.only("result")).model_dump()
    recipe = {"learning_rate": learning_rate, "epochs": 20}
    return find_unchanged(recipe, events.only("plan"), result, 5e-3)


@pytest.mark.usefixtures("in_float32")
def test_far_too_small_steps_are_told_as_such(tiny_model: Path, tmp_path: Path) -> None:
    events = trained(tiny_model, tmp_path / "run", learning_rate=1e-6)
    recall = events.only("result")["recall"]
    assert recall["asked"] == 10
    assert recall["loss_after"] == pytest.approx(recall["loss_before"], rel=0.02)
    found = judged(events, 1e-6)
    assert found is not None
    assert found.cause == Cause.SMALL_STEPS


def test_a_good_run_is_told_nothing_of_it(tiny_model: Path, tmp_path: Path) -> None:
    events = trained(tiny_model, tmp_path / "run", learning_rate=0.02)
    recall = events.only("result")["recall"]
    assert recall["alike"] < 5
    assert recall["loss_after"] < 0.8 * recall["loss_before"]
    assert judged(events, 0.02) is None


def test_first_words_alone_are_not_compared(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a machine that needs all the time for reading the questions.
    monkeypatch.setattr("worker.training.recall.RECALL_TOKENS", 1)
    events = trained(tiny_model, tmp_path / "run", learning_rate=1e-6)
    assert events.only("result")["recall"]["asked"] == 0


def test_long_texts_that_become_many_rows_are_all_asked_about(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(tiny_model, epochs=1, evaluations=1, max_tokens_per_example=128)
    texts = [{"id": i, "text": f"What is {i}? It is so. Hello there. " * 120} for i in range(12)]
    folder = make_run_folder(tmp_path / "run", recipe, texts, texts[:2])
    result = train_here(folder).only("result")
    assert result["recall"]["asked"] == 10


def test_a_slow_model_is_asked_no_longer_than_a_few_seconds(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.training.recall.RECALL_SECONDS", 0.0)
    events = trained(tiny_model, tmp_path / "run", learning_rate=1e-6)
    assert events.only("result")["recall"]["asked"] == 0
    found = judged(events, 1e-6)
    assert found is not None, "the surprise at the rows alone tells it"
