"""Threads side by side: the same gradients, to the bit each time, and nobody left behind."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.runs.costs.batching import unevenness
from app.runs.methods import Method
from app.runs.objectives import Objective
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import prepared_run
from tests.training.test_objectives import LINES, folder_for
from worker.training.gradients import add_up_gradients
from worker.training.lanes import Lanes
from worker.training.loop import TrainingRun

_ROWS = list(range(8))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("lanes") / "base")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Lanes leave their number of threads behind as that of threads to come."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def a_run(base: Path, folder: Path, objective: Objective) -> TrainingRun:
    if objective is Objective.ANSWERS:
        make_run_folder(folder, recipe_for(base), sums(12), sums(9, first=60))
    else:
        folder_for(base, folder, objective)
    return prepared_run(folder)[0]


def gradients(run: TrainingRun, lanes: Lanes) -> tuple[float, dict[str, torch.Tensor]]:
    run.objective.lanes = lanes
    run.optimizer.zero_grad(set_to_none=True)
    loss, _, _ = add_up_gradients(
        run.objective, run.tables.train, _ROWS, 4096, run.weights, run.budget.look
    )
    return loss, {n: w.grad.clone() for n, w in run.weights.items() if w.grad is not None}


@pytest.mark.parametrize("objective", [Objective.ANSWERS, Objective.KINDS, Objective.DPO])
def test_the_gradients_are_those_of_one_lane_and_the_same_bits_each_time(
    base: Path, tmp_path: Path, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: torch.float32)
    run = a_run(base, tmp_path / "run", objective)
    assert run.objective.loss.packed is not None
    for name, weight in run.weights.items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    # One thread each: a product is the same to the bit however many lanes there are.
    alone, of_one = gradients(run, Lanes(1))
    several = [gradients(run, Lanes(threads)) for threads in (2, 2, 4)]
    for loss, found in several:
        assert loss == pytest.approx(alone, rel=1e-6)
        assert found.keys() == of_one.keys()
        for name, gradient in of_one.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(several[0][1][name], several[1][1][name]) for name in of_one)
    assert several[0][0] == several[1][0]


@pytest.mark.parametrize("method", [Method.LORA, Method.DORA, Method.IA3, Method.FULL])
def test_an_update_is_that_of_one_lane(
    method: Method, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a gradient lies otherwise than its weight, which a fused optimizer overlooks."""
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: torch.float32)
    learned = {}
    for lanes in (1, 2):
        recipe = recipe_for(base, method=method, method_settings={})
        run, _ = prepared_run(make_run_folder(tmp_path / f"run {lanes}", recipe, sums(12)))
        before = {name: weight.detach().clone() for name, weight in run.weights.items()}
        gradients(run, Lanes(lanes))
        run.optimizer.step()
        learned[lanes] = {n: weight.detach() - before[n] for n, weight in run.weights.items()}
    assert any(change.abs().max() > 0 for change in learned[1].values())
    for name, change in learned[1].items():
        # Where a gradient is as good as nothing, its sign is that of the rounding.
        is_alike = torch.isclose(learned[2][name], change, rtol=1e-3, atol=1e-7)
        assert is_alike.float().mean() > 0.98, name


@pytest.mark.parametrize("objective", [Objective.ANSWERS, *LINES])
def test_what_is_measured_is_the_same(base: Path, tmp_path: Path, objective: Objective) -> None:
    run = a_run(base, tmp_path / "run", objective)
    run.objective.lanes = Lanes(1)
    alone = run.evaluator.measure()
    run.objective.lanes = Lanes(2)
    beside = run.evaluator.measure()
    assert beside.loss == pytest.approx(alone.loss, rel=1e-2)
    assert run.objective.lanes.busy_seconds > 0
    assert beside == run.evaluator.measure()


def test_a_run_takes_lanes_only_where_nothing_is_drawn_at_random(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    lanes = []
    for dropout in (0.0, 0.1):
        recipe = recipe_for(base, method_settings={"rank": 4, "alpha": 8, "dropout": dropout})
        run, _ = prepared_run(make_run_folder(tmp_path / str(dropout), recipe, sums(8)))
        lanes.append(run.objective.lanes.most)
    assert lanes == [2, 1]


def test_a_lane_whose_memory_runs_short_sends_all_down_the_ladder(
    base: Path, tmp_path: Path
) -> None:
    run, events = prepared_run(make_run_folder(tmp_path / "run", recipe_for(base), sums(8)))
    run.objective.lanes = Lanes(2)
    total, calls = run.objective.total, []

    def once_too_much(batch: object, scale: float = 1.0) -> torch.Tensor:
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return total(batch, scale)

    run.objective.total = once_too_much  # type: ignore[method-assign]
    run._update(_ROWS)  # noqa: SLF001 (one update is looked at)
    assert run.state.step == 1
    assert run.state.memory_rung == 1
    assert {name.rpartition("_")[0] for name in calls} == {"lane"}
    assert "Memory ran short" in events.of("memory")[0]["note"]


def test_lanes_are_chosen_by_when_the_last_of_them_is_done() -> None:
    lanes, lengths = Lanes(2), np.array([100, 100, 90, 110, 600])
    assert [sorted(share) for share in lanes.shares([0, 1, 2, 3], lengths, 4096)] == [
        [2, 3],
        [0, 1],
    ]
    # Alone with both threads, the long row is done sooner than beside the short one.
    assert lanes.shares([0, 4], lengths, 4096) == [[0, 4]]
    assert lanes.shares([3], lengths, 4096) == [[3]]
    # Each lane must have room for the longest row.
    assert len(lanes.shares([0, 1, 2, 3], lengths, 219)) == 1
    assert len(lanes.shares([0, 1, 2, 3], lengths, 220)) == 2


def test_what_one_item_raises_is_raised_once_all_have_ended() -> None:
    began, ended = threading.Barrier(2), []

    def work(item: int) -> int:
        began.wait(10)
        if item == 0:
            raise ValueError("no")
        ended.append(item)
        return item

    with pytest.raises(ValueError, match="no"):
        Lanes(2).each([0, 1], work, 2)
    assert ended == [1]


def test_each_lane_has_its_part_of_the_threads_and_order_is_kept() -> None:
    lanes = Lanes(8)
    found = lanes.each(range(20), lambda item: (item, torch.get_num_threads()), 4)
    assert found == [(item, 2) for item in range(20)]


def test_few_rows_take_longer_than_lanes_that_are_all_full() -> None:
    assert unevenness(rows=8, threads=2) == 1.0
    assert unevenness(rows=1, threads=2) == pytest.approx(1.25, abs=0.01)
    assert unevenness(rows=3, threads=2) == pytest.approx(1.25, abs=0.09)
    assert unevenness(rows=1, threads=1) == 1.0
