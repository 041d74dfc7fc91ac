"""A base model held in few bits: it learns, goes on after a stop, and plain peft reads it."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.memory import weights_bytes
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants
from app.runs.methods import METHODS, Method, Quantization
from app.runs.objectives import Objective
from app.runs.recipe import Recipe
from tests.support.devices import ONE_CPU, with_few_bits
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.training_events import prepared_run, train_here
from tests.training.test_objectives import pairs
from worker.few_bits import LIBRARY, bits_of, note_what_is_allowed
from worker.memory_notes import MemoryNotes
from worker.training.failures import TrainingFailureError
from worker.training.few_bits import keep_their_form, loading_options
from worker.training.loop import TrainingRun
from worker.training.memory import IN_FOUR_BITS, take_four_bits
from worker.training.model import base_sha256
from worker.training.stopping import StoppedError

FORMS = (Quantization.FOUR_BIT, Quantization.EIGHT_BIT)
PLAIN = {
    Quantization.FOUR_BIT: BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    ),
    Quantization.EIGHT_BIT: BitsAndBytesConfig(load_in_8bit=True),
}
SMALL = {"rank": 4, "block_size": 4, "virtual_tokens": 4, "encoder_size": 16}
REFUSERS = ["owner", *(pytest.param(who, marks=pytest.mark.slow) for who in ("method", "device"))]
USUAL = (Quantization.FOUR_BIT, Method.LORA)
EACH = [
    pytest.param(form, method, marks=() if (form, method) == USUAL else pytest.mark.slow)
    for method, spec in METHODS.items()
    for form in FORMS
    if form in spec.quantizations
]


def folder_for(
    folder: Path, model: Path, form: Quantization, method: Method = Method.LORA, epochs: int = 6
) -> Path:
    names = {setting.name for setting in METHODS[method].settings}
    recipe = recipe_for(
        model,
        method=method,
        method_settings={name: value for name, value in SMALL.items() if name in names},
        learning_rate=min(5e-3 * METHODS[method].learning_rate_factor, 1.0),
        quantization=form,
        epochs=epochs,
    )
    return make_run_folder(folder, recipe, sums(12), sums(6, first=50))


@torch.no_grad()
def scores_of(model: Any, **inputs: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 (no types)
    logits: torch.Tensor = model.eval()(**inputs).logits
    return logits


def differ_by(some: torch.Tensor, others: torch.Tensor) -> float:
    return float((some.float() - others.float()).norm() / others.float().norm())


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize(("form", "method"), EACH)
def test_it_learns_and_plain_peft_answers_the_same_on_the_same_bits(
    form: Quantization, method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    run, events = prepared_run(folder_for(tmp_path / "run", tiny_model, form, method))
    run.train()
    run.cleanup()
    result = events.only("result")
    assert result["loss_after"] < result["loss_before"] - 0.05
    front, ids = run.learner.front, torch.arange(24)[None]
    inputs = front.inputs(ids) if front else {"input_ids": ids}
    learned = scores_of(run.learner.base, **inputs)[:, front.places if front else 0 :]
    base = AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.float32, quantization_config=PLAIN[form], device_map={"": "cpu"}
    )
    # Else bitsandbytes lays out a layer's bits anew, which fails for layers as narrow as these.
    keep_their_form(base)
    plain = PeftModel.from_pretrained(base, str(run.run_folder / result["adapter_folder"]))
    answered = scores_of(plain, input_ids=ids)[:, -ids.shape[1] :]
    assert differ_by(answered, learned) < 0.01
    with run.learner.as_base():
        assert differ_by(learned, scores_of(run.learner.base, input_ids=ids)) > 0.05


@pytest.mark.parametrize(("form", "method"), EACH)
@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    form: Quantization, method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    whole = folder_for(tmp_path / "whole", tiny_model, form, method, epochs=2)
    expected = train_here(whole).only("result")
    broken = folder_for(tmp_path / "broken", tiny_model, form, method, epochs=2)
    _interrupt(broken, after=2)
    found = train_here(broken, fence=2).only("result")
    assert found["adapter_sha256"] == expected["adapter_sha256"]
    assert found["loss_after"] == expected["loss_after"]


def test_without_the_library_it_says_so_and_goes_on_once_it_is_back(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_for(tmp_path / "run", tiny_model, Quantization.FOUR_BIT, epochs=1)
    _interrupt(folder, after=2)

    def version_without_it(library: str) -> str:
        if library == LIBRARY:
            raise PackageNotFoundError(library)
        return version(library)

    with monkeypatch.context() as removed:
        removed.setattr("worker.training.precision.version", version_without_it)
        with pytest.raises(TrainingFailureError, match="held in 4 or 8 bits") as caught:
            prepared_run(folder, fence=2)
    assert "install bitsandbytes" in caught.value.next_step
    assert not caught.value.permanent
    assert train_here(folder, fence=3).only("plan")["resumed_from_step"] == 2


def _interrupt(folder: Path, after: int) -> None:
    run, _ = prepared_run(folder)
    update = run._update  # noqa: SLF001 (a stop between two updates)

    def then_stop(rows: list[int]) -> None:
        update(rows)
        run.stop.is_up = run.state.step >= after

    run._update = then_stop  # type: ignore[method-assign]  # noqa: SLF001 (see above)
    with pytest.raises(StoppedError):
        run.train()
    run.save_checkpoint()


@pytest.mark.parametrize("form", FORMS)
def test_answering_changes_nothing_of_what_it_learns_on(
    form: Quantization, tiny_model: Path, tmp_path: Path
) -> None:
    """On some processors a 4-bit layer would repack its bits at the first answer."""
    run, _ = prepared_run(folder_for(tmp_path / "run", tiny_model, form))
    before, gradients = base_sha256(run.model), _gradients(run)
    run.evaluate()
    assert base_sha256(run.model) == before
    after = _gradients(run)
    assert gradients.keys() == after.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, after[name]), name


def _gradients(run: TrainingRun) -> dict[str, torch.Tensor]:
    run.model.train()
    run._add_up_gradients([0, 1, 2, 3], 4096)  # noqa: SLF001 (its gradients are asked for)
    return {n: w.grad.clone() for n, w in run.weights.items() if w.grad is not None}


class TestTheLastResort:
    """A base model for which there is no room as it is, on a device that can hold it in 4 bits."""

    def allow(self, folder: Path) -> None:
        """Leave the word that the supervisor leaves before the process begins."""
        (device,) = with_few_bits(ONE_CPU).each()
        note_what_is_allowed(Recipe.read(folder), folder, device)

    def folder(self, folder: Path, model: Path, **changes: bool) -> Path:
        recipe = recipe_for(model, **{"four_bits_if_short": True, **changes})
        return make_run_folder(folder, recipe, sums(12), sums(6, first=50))

    def test_below_all_rungs_a_fresh_process_goes_on_in_4_bits_and_says_so(
        self, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = self.folder(tmp_path / "run", tiny_model)
        self.allow(folder)
        for fence, reason in ((1, "hardly anything more"), (2, "for the base model as it is")):
            run, _ = prepared_run(folder, fence)
            no_room(run, monkeypatch)
            with pytest.raises(TrainingFailureError, match=reason) as caught:
                run.train()
            assert not caught.value.permanent
        run, events = prepared_run(folder, fence=3)
        run.train()
        run.cleanup()
        assert [event["note"] for event in events.of("memory")] == [IN_FOUR_BITS]
        assert events.only("result")["held_as"] == "4bit"
        assert run.recipe.quantization is Quantization.NONE
        assert run.recipe.examples_per_update == 4

    def test_no_room_to_load_it_goes_straight_there(
        self, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = self.folder(tmp_path / "run", tiny_model)
        self.allow(folder)

        def load(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        with monkeypatch.context() as patched:
            patched.setattr("worker.training.loop.load_learner", load)
            with pytest.raises(TrainingFailureError) as caught:
                prepared_run(folder)
        assert not caught.value.permanent
        result = train_here(folder, fence=2).only("result")
        assert result["held_as"] == "4bit"
        assert result["loss_after"] < result["loss_before"]

    def test_preferences_are_measured_against_the_base_model_as_it_is_held_then(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        def of_pairs(name: str, **changes: Any) -> Path:  # noqa: ANN401 (fields of the recipe)
            recipe = recipe_for(tiny_model, objective=Objective.DPO, epochs=1, **changes)
            return make_run_folder(tmp_path / name, recipe, pairs(12), pairs(6, first=50))

        from_the_start = of_pairs("from the start", quantization=Quantization.FOUR_BIT)
        expected = train_here(from_the_start).only("result")
        fallen = of_pairs("fallen", four_bits_if_short=True)
        self.allow(fallen)
        # Before memory runs short, the base model as it is has been asked about all pairs.
        prepared_run(fallen)
        assert take_four_bits(fallen)
        found = train_here(fallen, fence=2).only("result")
        assert found["adapter_sha256"] == expected["adapter_sha256"]

    def test_the_kernel_s_kill_goes_there_too(self, tiny_model: Path, tmp_path: Path) -> None:
        folder = self.folder(tmp_path / "run", tiny_model)
        self.allow(folder)
        while_loading = MemoryNotes.read(folder).after_shortage()
        assert while_loading is not None
        assert while_loading.in_four_bits
        assert while_loading.after_shortage() is None
        at_the_lowest = replace(MemoryNotes.read(folder), rung=3, lowest=3).after_shortage()
        assert at_the_lowest is not None
        assert at_the_lowest.in_four_bits

    @pytest.mark.parametrize("refused_by", REFUSERS)
    def test_nothing_is_done_that_is_not_allowed(
        self, refused_by: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        method = Method.PISSA if refused_by == "method" else Method.LORA
        recipe = recipe_for(
            tiny_model, method=method, four_bits_if_short=refused_by != "owner", epochs=1
        )
        folder = make_run_folder(tmp_path / "run", recipe, sums(8))
        facts = ONE_CPU if refused_by == "device" else with_few_bits(ONE_CPU)
        note_what_is_allowed(Recipe.read(folder), folder, *facts.each())
        for fence in (1, 2):
            run, _ = prepared_run(folder, fence)
            no_room(run, monkeypatch)
            with pytest.raises(TrainingFailureError) as caught:
                run.train()
        assert caught.value.permanent
        assert not MemoryNotes.read(folder).in_four_bits

    def test_a_device_that_cannot_takes_a_run_back_as_it_is(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        folder = self.folder(tmp_path / "run", tiny_model)
        self.allow(folder)
        assert take_four_bits(folder)
        assert bits_of(Recipe.read(folder), folder) is Quantization.FOUR_BIT
        note_what_is_allowed(Recipe.read(folder), folder, *ONE_CPU.each())
        assert bits_of(Recipe.read(folder), folder) is Quantization.NONE


def no_room(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory in which no gradient fits."""

    def total(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(run, "_measure_base", lambda: None)
    monkeypatch.setattr(run.objective.loss, "total", total)


@pytest.mark.parametrize("form", FORMS)
def test_it_takes_the_memory_that_the_planner_counts(form: Quantization, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    shape = TransformerShape.from_config(config.to_dict())
    assert shape is not None
    options = loading_options(form, torch.bfloat16, torch.device("cpu"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, **options)
    constants = DeviceConstants.of(None).model_copy(update={"weight_bytes": 2})
    work = Work(row_tokens=1, longest_row=1, quantization=form)
    one_unpacked = 2 * 256 * 704
    counted = weights_bytes(shape, work, constants) - one_unpacked
    assert counted == pytest.approx(_held_bytes(model), rel=0.02)


def _held_bytes(model: torch.nn.Module) -> int:
    """Count the bytes of all weights and of what turns the packed ones back into numbers."""
    total = 0
    for weight in model.parameters():
        total += weight.nbytes
        state = getattr(weight, "quant_state", None)
        if state is not None:
            total += state.absmax.nbytes + state.state2.absmax.nbytes
        scales = getattr(weight, "SCB", None)
        total += 0 if scales is None else scales.nbytes
    return total
