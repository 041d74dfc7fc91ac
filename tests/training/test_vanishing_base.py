"""The base model's files go away while it is trained on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.runs.methods import Method
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import prepared_run, train_here
from worker.training.failures import TrainingFailureError
from worker.training.loop import TrainingRun

pytestmark = pytest.mark.slow


def run_folder(folder: Path, base: Path, method: Method) -> Path:
    settings = {"rank": 4, "alpha": 8} if method is Method.LORA else {}
    recipe = recipe_for(base, method=method, method_settings=settings)
    return make_run_folder(folder, recipe, sums(12), sums(6, first=50))


def _gone(base: Path) -> None:
    base.rename(base.with_name("elsewhere"))


def _changed(base: Path) -> None:
    weights = base / "model.safetensors"
    content = weights.read_bytes()
    with weights.open("r+b") as file:
        file.seek(len(content) // 2)
        file.write(bytes(byte ^ 0x55 for byte in content[len(content) // 2 :]))


def _after_the_first_update(run: TrainingRun, happens: Callable[[], None]) -> None:
    update = run._update  # noqa: SLF001 (something happens between two updates)

    def then(rows: list[int]) -> None:
        update(rows)
        if run.state.step == 1:
            happens()

    run._update = then  # type: ignore[method-assign] # noqa: SLF001


HAPPENINGS = {"gone": (_gone, "base_model_missing"), "changed": (_changed, "base_model_changed")}


@pytest.mark.parametrize("what", HAPPENINGS)
def test_what_is_loaded_is_learned_to_its_end_and_not_begun_again(
    what: str, tmp_path: Path
) -> None:
    happens, code = HAPPENINGS[what]
    base = make_tiny_model(tmp_path / "base")
    expected = train_here(run_folder(tmp_path / "whole", base, Method.LORA)).only("result")
    folder = run_folder(tmp_path / "run", base, Method.LORA)
    run, events = prepared_run(folder)
    _after_the_first_update(run, lambda: happens(base))
    run.train()
    run.cleanup()
    assert events.only("result")["adapter_sha256"] == expected["adapter_sha256"]
    # Had it been killed, the next attempt would not go on with something else in its place.
    with pytest.raises(TrainingFailureError, match="tiny model") as caught:
        prepared_run(folder, fence=2)
    assert (caught.value.code, caught.value.permanent) == (code, True)


@pytest.mark.parametrize("what", HAPPENINGS)
def test_a_whole_model_is_never_compared_with_another_base(what: str, tmp_path: Path) -> None:
    """Full fine-tuning changes the base in memory, and loads it again to compare with it."""
    happens, code = HAPPENINGS[what]
    base = make_tiny_model(tmp_path / "base")
    run, events = prepared_run(run_folder(tmp_path / "run", base, Method.FULL))
    _after_the_first_update(run, lambda: happens(base))
    with pytest.raises(TrainingFailureError, match="tiny model") as caught:
        run.train()
    assert caught.value.code == code
    assert not events.of("sample")
