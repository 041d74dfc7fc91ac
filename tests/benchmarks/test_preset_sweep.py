"""The sweep over preset rules: what it tries, what it says, and one real training through it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.runs.recipe import Preset
from benchmarks.preset_sweep.data import read_case
from benchmarks.preset_sweep.design import Result, next_trials
from benchmarks.preset_sweep.results import RESULTS_FILE, Results
from benchmarks.preset_sweep.rules import chosen_by_rules
from benchmarks.preset_sweep.table import compare, markdown
from benchmarks.preset_sweep.trial import Bench, Settings, Trial, train_in_a_fork
from tests.support.tiny_models import make_tiny_model

CHOSEN = Trial("tiny", "voice", Settings(1e-3, 16, 4, 4))
FIGURES = {"before": 5.0, "train_rows": 18, "held_out_rows": 5}


def result(trial: Trial, after: float) -> Result:
    return Result(trial, {**FIGURES, "after": after})


def best_at(settings: Settings) -> float:
    """A landscape whose lowest point is 4e-3, 8 epochs; the rest hardly matters."""
    rate, epochs = settings.learning_rate / 4e-3, settings.epochs / 8
    return 1.0 + abs(1 - rate) + abs(1 - epochs) / 10 + settings.rank / 1e4


@pytest.mark.parametrize("small", [False, True])
def test_the_design_walks_to_the_best_and_trains_it_with_a_second_seed(small: bool) -> None:  # noqa: FBT001
    chosen = CHOSEN if not small else replace(CHOSEN, settings=Settings(2e-3, 16, 4, 4))
    results: list[Result] = []
    while missing := next_trials(chosen, results, small=small):
        assert len(results) < 30
        # One at a time: a sweep that was broken off in the middle of a round goes on the same.
        results.append(result(missing[0], best_at(missing[0].settings)))
    comparison = compare(chosen, results)
    assert comparison is not None
    assert comparison.best.settings.learning_rate == 4e-3
    assert comparison.best.settings.epochs == 8
    assert (comparison.chosen_seeds, comparison.best_seeds) == (2, 2)
    assert not comparison.is_within


def test_tiny_losses_are_within_by_probability_and_the_table_shows_both() -> None:
    other = replace(CHOSEN, settings=replace(CHOSEN.settings, rank=64))
    comparison = compare(CHOSEN, [result(CHOSEN, 0.02), result(other, 0.01)])
    assert comparison is not None
    assert comparison.loss_ratio == pytest.approx(2.0)
    assert comparison.is_within
    text = markdown([comparison])
    assert "| 2.00 | 0.990 | yes |" in text
    far = compare(CHOSEN, [result(CHOSEN, 0.2), result(other, 0.1)])
    assert far is not None
    assert not far.is_within


def test_a_training_that_failed_is_never_the_best() -> None:
    failed = Result(replace(CHOSEN, settings=replace(CHOSEN.settings, rank=64)), {"error": "NaN"})
    comparison = compare(CHOSEN, [result(CHOSEN, 0.2), failed])
    assert comparison is not None
    assert comparison.best == CHOSEN


def test_cases_hold_out_as_the_product_does(tmp_path: Path) -> None:
    with (tmp_path / "banking77_train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "category"])
        rows.writerows([f"Where is card {number}?", f"kind_{number % 7}"] for number in range(300))
    small, again = (read_case("kinds@20#1", tmp_path) for _ in range(2))
    assert small == again
    assert (len(small.train), len(small.held_out)) == (15, 5)
    assert read_case("kinds@20#2", tmp_path) != small
    everything = read_case("kinds", tmp_path)
    assert (len(everything.train), len(everything.held_out)) == (270, 30)


def test_a_real_training_is_measured_and_kept(tmp_path: Path) -> None:
    # OpenMP's threads do not survive a fork.
    torch.set_num_threads(1)
    bench = Bench({"tiny": make_tiny_model(tmp_path / "tiny")}, tmp_path, tmp_path)
    chosen = chosen_by_rules(bench, "tiny", "voice@20", Preset.QUICK)
    trial = replace(chosen, settings=replace(chosen.settings, epochs=1))
    results = Results(tmp_path / "results")
    kept = results.add(trial, train_in_a_fork(trial, bench, asks=True))
    assert kept.loss < kept.figures["before"]
    assert kept.figures["asked"] == kept.figures["held_out_rows"] == 5
    with (tmp_path / "results" / RESULTS_FILE).open("a") as lines:
        lines.write(json.dumps(trial.as_json())[:50])
    assert Results(tmp_path / "results").all == [kept]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []
