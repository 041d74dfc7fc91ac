"""The same promises on a graphics card. Run by `make test-gpu` on a machine that has one."""

from pathlib import Path

import pytest
import torch

from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.training_events import prepared_run, train_here
from worker.training.model import base_sha256

pytestmark = pytest.mark.gpu


def test_the_base_stays_to_the_bit_and_the_adapter_learns(tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tiny_model, epochs=8, learning_rate=0.02)
    run, events = prepared_run(
        make_run_folder(tmp_path / "run", recipe, sums(12), sums(6, first=50))
    )
    assert {weight.device.type for weight in run.weights.values()} == {"cuda"}
    before = base_sha256(run.model)
    run.train()
    run.cleanup()
    assert base_sha256(run.model) == before
    result = events.only("result")
    assert result["loss_after"] < 0.8 * result["loss_before"]
    assert result["peak_memory_bytes"] > 0


def test_an_interrupted_run_ends_as_one_that_was_not(tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tiny_model, epochs=2)
    unbroken = train_here(make_run_folder(tmp_path / "unbroken", recipe, sums(12), sums(6, 50)))
    broken = make_run_folder(tmp_path / "broken", recipe, sums(12), sums(6, first=50))
    first, _ = prepared_run(broken)
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7]):
        first._update(rows)  # noqa: SLF001 (a run that ends in the middle of an epoch)
    first.save_checkpoint()
    resumed, events = prepared_run(broken, fence=2)
    assert resumed.state.step == 2
    assert {
        part.device.type
        for moments in resumed.optimizer.state.values()
        for part in moments.values()
    } == {"cuda"}
    resumed.train()
    resumed.cleanup()
    assert events.only("result")["steps"] == unbroken.only("result")["steps"]
    assert torch.isfinite(torch.tensor(events.only("result")["loss_after"]))
