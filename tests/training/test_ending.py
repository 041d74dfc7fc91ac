"""A run that learns less than was planned: what it keeps, and that it tells the truth about it."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.runs.child_events import ResultEvent
from tests.support.run_folders import conversation, make_run_folder, recipe_for, start_child, sums
from tests.support.training_events import RecordedEvents, train_here
from worker.training.loop import TrainingRun, run_training
from worker.training.precision import Numbers
from worker.training.stopping import StopFlag, StoppedError


class Listener(RecordedEvents):
    """Raises a flag as soon as the curve has come to a step."""

    def __init__(self, stop: StopFlag, flag: str, step: int, measured: str = "train_loss") -> None:
        super().__init__()
        self._stop, self._flag, self._step, self._measured = stop, flag, step, measured

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON values of any kind)
        super().emit(event, **fields)
        if event != "metrics" or self._measured not in fields["values"]:
            return
        if fields["step"] == self._step:
            setattr(self._stop, self._flag, True)


def held_out_losses(events: RecordedEvents) -> dict[int, float]:
    return {
        entry["step"]: entry["values"]["validation_loss"]
        for entry in events.of("metrics")
        if "validation_loss" in entry["values"]
    }


class TestFinishingEarly:
    def test_the_present_state_is_measured_and_the_best_is_kept(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        recipe = recipe_for(tiny_model, epochs=6, evaluations=3)
        folder = make_run_folder(tmp_path / "run", recipe, sums(16), sums(6, first=50))
        stop = StopFlag()
        events = Listener(stop, "finishes", step=10)
        run_training(folder, 1, events, stop)
        losses = held_out_losses(events)
        assert sorted(losses) == [0, 8, 10], "not again at a step that was not reached"
        result = events.only("result")
        assert (result["steps"], result["planned_steps"], result["ending"]) == (10, 24, "asked")
        assert result["epochs"] == 2.5
        assert result["loss_after"] == min(losses[8], losses[10])
        assert losses[result["best_step"]] == result["loss_after"]
        # What the supervisor reads of it.
        assert ResultEvent.model_validate(result).epochs == 2.5

    def test_in_the_first_pass_the_loss_is_that_of_what_was_seen(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        recipe = recipe_for(tiny_model, epochs=6)
        folder = make_run_folder(tmp_path / "run", recipe, sums(16))
        stop = StopFlag()
        events = Listener(stop, "finishes", step=2)
        run_training(folder, 1, events, stop)
        result = events.only("result")
        assert (result["steps"], result["loss_after"]) == (2, None)
        assert result["epochs"] == 0.5
        assert result["train_loss"] > 0.1

    def test_asked_at_its_last_step_it_simply_is_done(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model, epochs=1), sums(8))
        stop = StopFlag()
        events = Listener(stop, "finishes", step=2)
        run_training(folder, 1, events, stop)
        assert events.only("result")["ending"] == "planned"
        assert events.only("result")["epochs"] == 1.0

    def test_what_was_saved_elsewhere_is_kept_though_it_could_not_go_on(
        self, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = recipe_for(tiny_model, epochs=6)
        folder = make_run_folder(tmp_path / "run", recipe, sums(16), sums(6, first=50))
        stop = StopFlag()
        with pytest.raises(StoppedError):
            run_training(folder, 1, Listener(stop, "is_up", step=9), stop)
        here = Numbers.as_json

        def under_an_older_library(numbers: Numbers) -> dict[str, Any]:
            return here(replace(numbers, libraries={**numbers.libraries, "torch": "1.0"}))

        with monkeypatch.context() as patch:
            patch.setattr(Numbers, "as_json", under_an_older_library)
            run = TrainingRun(folder, 2, RecordedEvents(), StopFlag())
            run.setup()
            run.saved = None
            run.save_checkpoint()
        events = RecordedEvents()
        run_training(folder, 3, events, StopFlag(finishes=True))
        assert events.of("restarted") == []
        assert events.only("result")["steps"] == 9


def test_the_process_finishes_at_a_signal_and_the_next_one_from_its_start(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(tiny_model, epochs=100)
    folder = make_run_folder(tmp_path / "run", recipe, sums(24), sums(6, first=50))
    with start_child(folder) as child:
        assert child.stdout is not None
        events = []
        for line in child.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "metrics" and events[-1]["step"] in {5, 6}:
                child.send_signal(signal.SIGUSR1)
        assert child.wait(timeout=60) == 0
    result = events[-1]
    assert (result["event"], result["ending"]) == ("result", "asked")
    assert 5 <= result["steps"] < result["planned_steps"]
    with start_child(folder, 2, finishes=True) as child:
        assert child.stdout is not None
        events = [json.loads(line) for line in child.stdout]
        assert child.wait(timeout=60) == 0
    for name in ("steps", "best_step", "adapter_sha256", "epochs", "loss_after"):
        assert events[-1][name] == result[name]


class TestStoppingByItself:
    def run(self, base_model: Path, folder: Path, patience: int) -> Path:
        """Held-out examples contradict what it learns: the better it learns, the worse."""
        recipe = recipe_for(
            base_model, epochs=12, learning_rate=0.02, evaluations=12, patience=patience
        )
        contrary = [
            conversation(i, f"What is {i} and {i % 7}?", f"Never {i} nor {i + 3}!")
            for i in range(6)
        ]
        return make_run_folder(folder, recipe, sums(6), contrary)

    def test_it_ends_when_checks_bring_nothing_better_and_keeps_the_best(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        patient, impatient = (
            train_here(self.run(tiny_model, tmp_path / str(patience), patience))
            for patience in (0, 2)
        )
        whole, early = patient.only("result"), impatient.only("result")
        assert (whole["ending"], whole["steps"]) == ("planned", 24)
        losses = held_out_losses(impatient)
        last = max(losses)
        assert (early["ending"], early["steps"], early["planned_steps"]) == ("no_better", last, 24)
        assert early["best_step"] == last - 4, "two checks, two steps apart, were in vain"
        assert early["loss_after"] == losses[early["best_step"]]
        assert early["epochs"] == last / 2
        # What both did alike, both know alike.
        assert {step: held_out_losses(patient)[step] for step in losses} == losses

    @pytest.mark.parametrize("moment", ["before the last check", "after it"])
    def test_killed_around_its_end_it_ends_the_same(
        self, tiny_model: Path, tmp_path: Path, moment: str
    ) -> None:
        expected = train_here(self.run(tiny_model, tmp_path / "unbroken", 2)).only("result")
        folder = self.run(tiny_model, tmp_path / "broken", 2)
        stop = StopFlag()
        measured = "train_loss" if moment == "before the last check" else "validation_loss"
        with pytest.raises(StoppedError):
            run_training(folder, 1, Listener(stop, "is_up", expected["steps"], measured), stop)
        result = train_here(folder, fence=2).only("result")
        for name in ("adapter_sha256", "steps", "best_step", "loss_after", "ending", "epochs"):
            assert result[name] == expected[name]
