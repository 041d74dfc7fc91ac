"""The real training process: its stream, its exit codes, and being killed at any moment."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from app.base_models.service import STARTER_FOLDER
from app.runs.recipe import Recipe
from tests.support.run_folders import make_run_folder, recipe_for, run_child, start_child, sums

JsonObject = dict[str, Any]


def of(events: list[JsonObject], kind: str) -> list[JsonObject]:
    return [event for event in events if event["event"] == kind]


def shown(events: list[JsonObject]) -> dict[tuple[Any, Any], Any]:
    """Return what a page shows for good: the curves, and the answers at each evaluation."""
    points = {
        (event["step"], name): event["values"][name]
        for event in of(events, "metrics")
        for name in ("train_loss", "validation_loss")
        if name in event["values"]
    }
    answers = {(e["step"], e["position"]): e["answer"] for e in of(events, "sample")}
    return {**points, **answers}


def new_run(folder: Path, recipe: Recipe) -> Path:
    return make_run_folder(folder, recipe, sums(24), sums(6, first=50))


def test_a_killed_run_ends_with_the_same_adapter_as_an_undisturbed_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Dropout draws from the random state at each step, so a wrong state would show.
    recipe = recipe_for(
        tiny_model,
        epochs=6,
        method_settings={"rank": 4, "dropout": 0.1},
        evaluations=3,
        seconds_between_checkpoints=0,
    )
    code, events, errors = run_child(new_run(tmp_path / "undisturbed", recipe))
    assert code == 0, errors
    (expected,) = of(events, "result")
    curves = shown(events)
    steps = of(events, "plan")[0]["total_steps"]

    killed = new_run(tmp_path / "killed", recipe)
    chance = random.Random(11)  # noqa: S311 (moments to kill at, the same each time)
    resumed_from = []
    for fence in (1, 2):
        with start_child(killed, fence) as child:
            assert child.stdout is not None
            last_step = chance.randrange(4, steps - 2)
            for line in child.stdout:
                event = json.loads(line)
                if event["event"] == "plan":
                    resumed_from.append(event["resumed_from_step"])
                if event["event"] == "metrics" and event["step"] >= last_step:
                    break
            time.sleep(chance.random() * 0.02)
            child.kill()
    code, events, errors = run_child(killed, fence=3)
    assert code == 0, errors
    (result,) = of(events, "result")
    resumed_from.append(of(events, "plan")[0]["resumed_from_step"])
    assert resumed_from[-1] > 0
    assert result["adapter_sha256"] == expected["adapter_sha256"]
    for name in ("loss_before", "loss_after", "best_step", "tokens_seen", "train_loss"):
        assert result[name] == expected[name]
    # Whoever listened to the first two may have died before it wrote down what they said.
    assert shown(events) == curves


def test_being_asked_to_stop_saves_and_says_so(tiny_model: Path, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "run", recipe_for(tiny_model, epochs=60))
    with start_child(folder) as child:
        assert child.stdout is not None
        events = []
        for line in child.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "metrics" and events[-1]["step"] in {5, 6}:
                child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 4
    stopped = events[-1]
    assert stopped["event"] == "stopped"
    assert of(events, "checkpoint")[-1]["step"] == stopped["step"] >= 5
    manifest = folder / "checkpoints" / f"step-{stopped['step']:08d}" / "manifest.json"
    assert manifest.exists()


def test_nothing_but_events_reaches_the_stream(tiny_model: Path, tmp_path: Path) -> None:
    code, events, errors = run_child(new_run(tmp_path / "run", recipe_for(tiny_model, epochs=1)))
    assert code == 0, errors
    assert events[0] == {
        "event": "phase",
        "phase": "loading_data",
        "message": "Reading your examples",
    }
    assert events[-1]["event"] == "result"
    assert all("event" in event for event in events)


def test_a_disk_that_fills_up_ends_in_a_sentence_and_spares_the_last_checkpoint(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = new_run(tmp_path / "run", recipe_for(tiny_model, epochs=1))
    code, events, errors = run_child(folder)
    assert code == 0, errors
    before = sorted(p.name for p in (folder / "checkpoints").iterdir())
    # The same run again, with more to do and no file of more than 20 kB allowed.
    recipe = Recipe.read(folder).model_copy(update={"epochs": 2})
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    code, events, errors = run_child(folder, fence=2, largest_file=20_000)
    assert code == 3, errors
    failure = events[-1]
    assert (failure["event"], failure["code"]) == ("failure", "disk_full")
    assert not failure["permanent"]
    assert "Traceback" not in failure["reason"]
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == before


@pytest.mark.slow
def test_a_disk_that_fills_up_while_the_result_is_saved_is_known_as_such(tmp_path: Path) -> None:
    # A small adapter on a model with a large tokenizer, whose library has errors of its own.
    recipe = recipe_for(STARTER_FOLDER, epochs=1, method_settings={"rank": 1})
    folder = new_run(tmp_path / "run", recipe)
    code, _, errors = run_child(folder)
    assert code == 0, errors
    largest = max(
        path.stat().st_size for path in (folder / "checkpoints").rglob("*") if path.is_file()
    )
    tokenizer = folder / ".adapter-1" / "tokenizer.json"
    assert largest < tokenizer.stat().st_size, "else it is no test of the saving"
    code, events, errors = run_child(folder, fence=2, largest_file=largest)
    assert code == 3, errors
    assert events[-1]["code"] == "disk_full"


@pytest.mark.parametrize(
    "changed",
    ["a byte", *(pytest.param(how, marks=pytest.mark.slow) for how in ("cut off", "gone"))],
)
def test_examples_that_changed_since_they_were_frozen_are_not_learned(
    tiny_model: Path, tmp_path: Path, changed: str
) -> None:
    folder = new_run(tmp_path / "run", recipe_for(tiny_model))
    data = folder / "data" / "train.jsonl"
    match changed:
        case "a byte":
            data.write_text(data.read_text().replace("It is 6", "It is 5", 1))
        case "cut off":
            data.write_bytes(data.read_bytes()[:-40])
        case _:
            data.unlink()
    code, events, _ = run_child(folder)
    assert code == 3
    assert (events[-1]["code"], events[-1]["permanent"]) == ("data_changed", True)
    assert "examples" in events[-1]["reason"]


def test_a_fault_nobody_foresaw_is_still_an_event(tiny_model: Path, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "run", recipe_for(tiny_model))
    (folder / "recipe.json").write_text("{")
    code, events, _ = run_child(folder)
    assert code == 3
    assert events[-1]["code"] == "unexpected"
    assert "Traceback" in events[-1]["details"]
    assert tmp_path.name not in events[-1]["reason"]
