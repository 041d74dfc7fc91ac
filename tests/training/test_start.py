"""A run that begins with the weights of an earlier one."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from app.runs.continuing import CONTINUABLE
from app.runs.methods import Method
from app.runs.recipe import START_FOLDER, Continuation
from tests.support.run_folders import JsonObject, make_run_folder, recipe_for, sums
from tests.support.training_events import prepared_run, train_here
from worker.training.failures import TrainingFailureError

_WEIGHTS = "adapter_model.safetensors"


def earlier(base: Path, folder: Path, method: Method) -> tuple[Path, JsonObject]:
    """A finished run; its weights, and its result."""
    recipe = recipe_for(base, method=method, method_settings={}, epochs=4)
    run = make_run_folder(folder, recipe, sums(12), sums(5, first=50))
    result = train_here(run).only("result")
    return run / result["adapter_folder"] / _WEIGHTS, result


# One of each way of beginning; the others take their time.
OFTEN = (Method.LORA, Method.LOKR)


def later(base: Path, folder: Path, method: Method, weights: Path, sha256: str) -> Path:
    start = Continuation(version=1, adapter_sha256=sha256, new_examples=4)
    recipe = recipe_for(base, method=method, method_settings={}, epochs=2, continues_from=start)
    run = make_run_folder(folder, recipe, sums(16), sums(5, first=50))
    (run / START_FOLDER).mkdir()
    shutil.copyfile(weights, run / START_FOLDER / _WEIGHTS)
    return run


@pytest.mark.parametrize(
    "method",
    [m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in CONTINUABLE],
)
def test_it_begins_where_the_earlier_one_ended(
    tiny_model: Path, tmp_path: Path, method: Method
) -> None:
    weights, before = earlier(tiny_model, tmp_path / "earlier", method)
    folder = later(tiny_model, tmp_path / "later", method, weights, before["adapter_sha256"])
    run, events = prepared_run(folder)
    begun, _ = run.learner.result()
    saved = load_file(weights)
    assert saved.keys() == begun.keys()
    assert all((tensor == saved[name]).all() for name, tensor in begun.items())
    run.train()
    run.cleanup()
    result = events.only("result")
    assert result["loss_before"] == pytest.approx(before["loss_before"])
    assert result["loss_at_start"] == pytest.approx(before["loss_after"], rel=1e-3)
    assert result["adapter_sha256"] != before["adapter_sha256"]
    assert load_file(weights).keys() == saved.keys(), "the earlier one stays"


@pytest.mark.parametrize("fault", ["gone", "changed", "of another shape"])
def test_weights_that_cannot_be_used_end_the_run_with_a_sentence(
    tiny_model: Path, tmp_path: Path, fault: str
) -> None:
    weights, before = earlier(tiny_model, tmp_path / "earlier", Method.LORA)
    method = Method.LOHA if fault == "of another shape" else Method.LORA
    folder = later(tiny_model, tmp_path / "later", method, weights, before["adapter_sha256"])
    copy = folder / START_FOLDER / _WEIGHTS
    if fault == "gone":
        copy.unlink()
    elif fault == "changed":
        copy.write_bytes(copy.read_bytes()[:-4] + b"else")
    with pytest.raises(TrainingFailureError, match="version 1") as caught:
        train_here(folder)
    assert (caught.value.code, caught.value.permanent) == ("start_unusable", True)
