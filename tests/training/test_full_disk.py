"""The disk fills up while a training writes, whatever it writes: it says so and goes on later."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from app.runs.objectives import Objective
from tests.support.run_folders import make_run_folder, recipe_for
from tests.support.training_events import train_here
from tests.training.test_objectives import pairs
from worker.training import loop, precision
from worker.training.checkpoints import CheckpointFolder
from worker.training.failures import describe
from worker.training.objectives.dpo import Dpo


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow. Python ignores the signal for it, so writing fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def run_folder(folder: Path, base: Path) -> Path:
    """A run that writes all that any run does: of preferences, which ask the base model first."""
    recipe = recipe_for(base, objective=Objective.DPO, seconds_between_checkpoints=0)
    return make_run_folder(folder, recipe, pairs(12), pairs(6, first=50))


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of what is learned where there is room."""
    folder = run_folder(tmp_path_factory.mktemp("undisturbed") / "run", tiny_model)
    return str(train_here(folder).only("result")["adapter_sha256"])


# The first two stand for all where time is short.
WRITERS: Final[dict[str, tuple[Any, str, int]]] = {
    "a later checkpoint": (CheckpointFolder, "save", 4),
    "the result": (loop, "save_adapter", 1),
    "the fence": (CheckpointFolder, "take_over", 1),
    "tokens": (loop, "prepare_tokens", 1),
    "its numbers": (precision, "remembered_dtype", 1),
    "its memory": (loop, "MemoryBudget", 1),
    "what the base model says": (Dpo, "begin", 1),
    "the first checkpoint": (CheckpointFolder, "save", 1),
}
OFTEN: Final = tuple(WRITERS)[:2]


@pytest.mark.parametrize(
    "what", [w if w in OFTEN else pytest.param(w, marks=pytest.mark.slow) for w in WRITERS]
)
def test_it_is_said_and_the_run_goes_on_once_there_is_room(
    what: str,
    tiny_model: Path,
    undisturbed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, name, time = WRITERS[what]
    folder = run_folder(tmp_path / "run", tiny_model)
    calls = []

    def fills_up(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            calls.append(name)
            if len(calls) != time:
                return real(*arguments, **named)
            with full_disk():
                return real(*arguments, **named)

        return write

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fills_up(getattr(owner, name)))
        with pytest.raises(Exception) as caught:  # noqa: PT011 (what it is called is looked at)
            train_here(folder)
    assert len(calls) == time
    failure = describe(caught.value)
    assert (failure.code, failure.permanent) == ("disk_full", False)
    assert "could not be saved" in failure.reason
    assert "Go on" in failure.next_step
    assert not list(folder.rglob(".*.tmp"))
    assert train_here(folder, fence=2).only("result")["adapter_sha256"] == undisturbed
