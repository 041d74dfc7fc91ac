"""The loop in this process: what changes, what must not, and what it says."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from app.runs.child_events import ResultEvent
from tests.support.run_folders import conversation, make_run_folder, recipe_for, sums
from tests.support.tiny_models import KINDS, UNMARKED_TEMPLATE, make_tiny_model
from tests.support.training_events import prepared_run, train_here
from worker.training import loop
from worker.training.failures import TrainingFailureError
from worker.training.measured import Measured
from worker.training.model import base_sha256


def test_the_base_stays_to_the_bit_and_the_adapter_learns(
    tiny_model: Path, number_format: torch.dtype, tmp_path: Path
) -> None:
    recipe = recipe_for(tiny_model, epochs=8, learning_rate=0.02)
    folder = make_run_folder(tmp_path / "run", recipe, sums(12), sums(6, first=50))
    run, events = prepared_run(folder)
    before = base_sha256(run.model)
    on_disk = load_file(tiny_model / "model.safetensors")
    run.train()
    assert base_sha256(run.model) == before
    for name, weight in run.model.get_base_model().named_parameters():
        if "lora_" not in name:
            assert weight.dtype == number_format
            original = on_disk[name.replace(".base_layer", "")]
            assert torch.equal(weight, original.to(number_format))
    run.cleanup()
    result = events.only("result")
    assert result["loss_after"] < 0.8 * result["loss_before"]
    assert result["steps"] == 24
    saved = load_file(folder / result["adapter_folder"] / "adapter_model.safetensors")
    assert all(w.dtype == torch.float32 and bool(w.any()) for w in saved.values())
    assert {name.split(".")[-3] for name in saved} >= {"q_proj", "down_proj", "gate_proj"}


def test_what_it_says(tiny_model: Path, tmp_path: Path) -> None:
    nothing = {"id": 99, "messages": [{"role": "user", "content": "No answer here"}]}
    folder = make_run_folder(
        tmp_path / "run",
        recipe_for(tiny_model),
        [*sums(10), nothing],
        [*sums(5, first=50), nothing],
    )
    events = train_here(folder)
    assert [entry["phase"] for entry in events.of("phase")] == [
        *("loading_model", "measuring_base", "training"),
        *("evaluating", "training", "evaluating", "training", "evaluating", "saving"),
    ]
    plan = events.only("plan")
    assert (plan["total_steps"], plan["steps_per_epoch"], plan["train_examples"]) == (6, 3, 10)
    assert (plan["examples_left_out"], plan["held_out_left_out"]) == (2, 1)
    trained = [e for e in events.of("metrics") if "train_loss" in e["values"]]
    assert [e["step"] for e in trained] == [1, 2, 3, 4, 5, 6]
    held_out = [e["step"] for e in events.of("metrics") if "validation_loss" in e["values"]]
    assert held_out == [0, 3, 6]
    samples = events.of("sample")
    assert [(e["step"], e["position"]) for e in samples] == [
        *((3, 0), (3, 1), (3, 2)),
        *((6, 0), (6, 1), (6, 2)),
    ]
    assert samples[0]["question"] == "What is 50 and 1?"
    assert events.of("progress")[-1]["step"] == 6


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_is_trained_and_read_back_by_plain_peft(
    kind: str, tmp_path: Path
) -> None:
    base = make_tiny_model(tmp_path / "base", kind, template=None, with_pad=False, with_marks=False)
    recipe = recipe_for(base, epochs=1)
    folder = make_run_folder(tmp_path / "run", recipe, sums(8), sums(5, first=50))
    run, events = prepared_run(folder)
    run.train()
    run.cleanup()
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=run.numbers.dtype),
        str(folder / events.only("result")["adapter_folder"]),
    ).eval()
    ids = torch.arange(20)[None]
    run.model.eval()
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, run.model(ids).logits)


def test_micro_batches_do_not_change_the_result(
    tiny_model: Path, tmp_path: Path, number_format: torch.dtype
) -> None:
    # Sums in another order: they differ by the rounding of the format.
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 2e-3}[number_format]
    first_steps = []
    for budget in (64, 4096):
        recipe = recipe_for(tiny_model, tokens_per_micro_batch=budget, epochs=1)
        folder = make_run_folder(tmp_path / str(budget), recipe, sums(16))
        run, events = prepared_run(folder)
        run.train()
        first_steps.append(events.of("metrics")[0]["values"])
    for name in ("train_loss", "gradient_norm"):
        assert first_steps[0][name] == pytest.approx(first_steps[1][name], rel=tolerance)


def test_nothing_held_out_keeps_the_last_weights(tiny_model: Path, tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(6))
    result = train_here(folder).only("result")
    assert result["loss_before"] is None
    assert result["loss_after"] is None
    assert result["best_step"] == result["steps"] == 4


def test_the_best_weights_are_kept_not_the_last(tiny_model: Path, tmp_path: Path) -> None:
    folder = _run_that_gets_worse(tiny_model, tmp_path)
    events = train_here(folder)
    losses = {
        e["step"]: e["values"]["validation_loss"]
        for e in events.of("metrics")
        if "validation_loss" in e["values"] and e["step"]
    }
    best = min(losses, key=lambda step: losses[step])
    assert best < max(losses)
    result = events.only("result")
    assert result["best_step"] == best
    assert result["loss_after"] == losses[best]
    saved = load_file(folder / result["adapter_folder"] / "adapter_model.safetensors")
    kept = load_file(folder / "checkpoints" / f"step-{best:08d}" / "adapter.safetensors")
    assert torch.equal(
        next(w for n, w in sorted(saved.items()) if "layers.0.mlp.up_proj.lora_B" in n),
        next(w for n, w in sorted(kept.items()) if "layers.0.mlp.up_proj.lora_B" in n),
    )


def test_a_loss_that_is_no_number_is_not_the_best_and_does_not_spoil_the_result(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(10), sums(5, first=50))
    run, events = prepared_run(folder)
    measured = iter([Measured(math.nan), Measured(0.5)])
    monkeypatch.setattr(run.evaluator, "measure_base", lambda: Measured(math.inf))
    monkeypatch.setattr(run.evaluator, "measure", lambda: next(measured))
    run.train()
    run.cleanup()
    # As the supervisor reads it.
    result = ResultEvent.model_validate_json(json.dumps(events.only("result")))
    assert (result.loss_before, result.loss_after) == (None, 0.5)
    assert result.best_step == result.steps == 6


@pytest.mark.parametrize(
    ("seconds", "saved_at"),
    [
        pytest.param(5, [3, 11, 19, 24], id="from then on ten times what the last one took"),
        pytest.param(0, [*range(1, 25)], id="after every update if the recipe says so"),
    ],
)
def test_saving_takes_but_a_small_part_of_the_time(
    seconds: float,
    saved_at: list[int],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipe_for(tiny_model, epochs=8, seconds_between_checkpoints=seconds)
    run, events = prepared_run(make_run_folder(tmp_path / "run", recipe, sums(12)))
    clock = {"now": 0.0}
    update, publish = run._update, loop._publish_checkpoint  # noqa: SLF001 (they are to take time)

    def takes(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any) -> Any:  # noqa: ANN401
            clock["now"] += seconds
            return work(*arguments)

        return done

    monkeypatch.setattr(run, "_update", takes(2.0, update))
    monkeypatch.setattr(loop, "_publish_checkpoint", takes(1.5, publish))
    monkeypatch.setattr(
        "worker.training.loop.time",
        SimpleNamespace(monotonic=lambda: clock["now"], perf_counter=time.perf_counter),
    )
    run.train()
    assert [step for event in events.of("checkpoint") if (step := event["step"])] == saved_at


def _run_that_gets_worse(base_model: Path, folder: Path) -> Path:
    """A run whose held-out examples contradict what it learns: the better it learns, the worse."""
    recipe = recipe_for(base_model, epochs=12, learning_rate=0.02, evaluations=12)
    contrary = [
        conversation(i, f"What is {i} and {i % 7}?", f"Never {i} nor {i + 3}!") for i in range(6)
    ]
    return make_run_folder(folder / "run", recipe, sums(6), contrary)


def test_numbers_beyond_calculation_stop_the_run_and_keep_what_was_saved(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(tiny_model, epochs=1)
    folder = make_run_folder(tmp_path / "run", recipe, sums(12), sums(5, first=50))
    prepared_run(folder)[0].train()
    run, events = prepared_run(folder, fence=2)
    run.recipe = recipe.model_copy(update={"epochs": 10})
    run.plan = dataclasses.replace(run.plan, peak_rate=1e9)
    with pytest.raises(TrainingFailureError) as caught:
        run.train()
    assert caught.value.code == "nan_loss"
    assert caught.value.permanent
    assert "learning rate" in caught.value.next_step
    assert run.state.step < 20
    newest = run.checkpoints.load_newest()
    assert newest is not None
    assert newest.step == 3
    assert all(bool(w.isfinite().all()) for w in newest.tensors["adapter"].values())
    assert events.of("result") == []


def test_a_changed_missing_or_dangerous_base_model_is_named(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", template=UNMARKED_TEMPLATE)
    recipe = recipe_for(base)

    def code(name: str) -> str:
        with pytest.raises(TrainingFailureError, match="tiny model") as caught:
            train_here(make_run_folder(tmp_path / name, recipe_of[name], sums(4)))
        return caught.value.code

    recipe_of = {"changed": recipe}
    config = base / "config.json"
    plain = config.read_text()
    config.write_text(plain + " ")
    assert code("changed") == "base_model_changed"
    config.write_text(plain.replace("{", '{"auto_map": {"AutoConfig": "x.y"},', 1))
    recipe_of["dangerous"] = recipe_for(base)
    assert code("dangerous") == "base_model_refused"
    recipe_of["gone"] = recipe
    base.rename(tmp_path / "elsewhere")
    assert code("gone") == "base_model_missing"


def test_examples_without_any_answer_are_said(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"id": 1, "messages": [{"role": "user", "content": "Hello?"}]}]
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), rows)
    with pytest.raises(TrainingFailureError) as caught:
        train_here(folder)
    assert caught.value.code == "no_usable_examples"


def test_a_damaged_best_state_is_not_claimed_in_the_result(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = _run_that_gets_worse(tiny_model, tmp_path)
    run, events = prepared_run(folder)
    run.train()
    best = run.state.best_step
    assert best is not None
    assert best < run.state.step
    (folder / "checkpoints" / f"step-{best:08d}" / "adapter.safetensors").write_bytes(b"cut")
    run.cleanup()
    result = events.only("result")
    assert result["best_step"] == result["steps"]
    last = [e for e in events.of("metrics") if "validation_loss" in e["values"]][-1]
    assert result["loss_after"] == pytest.approx(last["values"]["validation_loss"])


def test_a_checkpoint_of_other_numbers_is_not_gone_on_from(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model, epochs=1), sums(6))
    first, _ = prepared_run(folder)
    first.numbers = dataclasses.replace(first.numbers, libraries={"torch": "1.0"})
    first.train()
    assert list((folder / "checkpoints").glob("step-*"))
    again, events = prepared_run(folder, fence=2)
    assert events.only("plan")["resumed_from_step"] == 0
    assert "begins anew" in events.only("log")["message"]
    assert not list((folder / "checkpoints").glob("step-*"))
    again.train()
    third, _ = prepared_run(folder, fence=3)
    assert third.state.step == again.plan.total_steps


@pytest.mark.usefixtures("in_float32")
def test_a_slow_model_has_time_for_every_sample(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(8), sums(5, first=50))
    run, _ = prepared_run(folder)
    monkeypatch.setattr("worker.training.evaluate.SHOWN_SECONDS", 0.9)
    monkeypatch.setattr(run.evaluator, "_check_stop", lambda: time.sleep(0.03))
    answers = run.evaluator.answers()
    assert len(answers) == 3
    assert all(answer.endswith(" …") and len(answer) > 2 for answer in answers), answers


def test_harmless_settings_of_a_model_do_not_stop_its_training(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", template=UNMARKED_TEMPLATE)
    config = base / "config.json"
    config.write_text(config.read_text().replace("{", '{"_attn_implementation": "sdpa",', 1))
    folder = make_run_folder(tmp_path / "run", recipe_for(base, epochs=1), sums(6))
    assert train_here(folder).only("result")["steps"] == 2
