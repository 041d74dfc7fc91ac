"""Fits or not, how much, how long: the arithmetic, and how it grows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.base_models.shelf import BUILT_IN_SHELF, ShelfModel, read_shelf
from app.base_models.transformer_shape import TransformerShape, shape_from_facts
from app.runs.costs.asking import RECALL_TOKENS, SHOWN_SECONDS, recall_seconds, shown_seconds
from app.runs.costs.memory import Cost, peak_memory
from app.runs.costs.seconds import training_seconds, training_time
from app.runs.costs.trained import trained_numbers
from app.runs.costs.work import Work
from app.runs.device_constants import MEASURED_KEY, DeviceConstants
from app.runs.fit_words import about, fit_sentences, full_sentence, remedies
from app.runs.methods import METHODS, Method
from app.runs.objectives import Objective
from app.runs.outlook import for_any_examples
from app.runs.planner import plan
from app.runs.setting import fill_settings
from app.workers.device import Device, DeviceFacts, DeviceKind
from tests.support.devices import with_few_bits
from worker.training.batches import divide, plan_epoch

_SHELF = read_shelf(BUILT_IN_SHELF)
_SMALL = next(model.measures for model in _SHELF if model.slug == "smollm2-135m")
_LARGE = next(model.measures for model in _SHELF if model.slug == "qwen3-8b")
# On one of two cards with 16 and 24 GB, and divided over both.
_BETWEEN = TransformerShape.usual_for(7_000_000_000)
_BETWEEN_BOTH = TransformerShape.usual_for(9_500_000_000)
_WORK = Work(row_tokens=200, longest_row=512, examples=100, epochs=2, settings={"rank": 16})
_USUAL = DeviceConstants.of(None)


def _machine(
    gigabytes: float,
    kind: DeviceKind = DeviceKind.CPU,
    measured: dict[str, object] | None = None,
) -> DeviceFacts:
    memory = round(gigabytes * 1e9)
    return DeviceFacts(
        host="workshop",
        kind=kind,
        devices=(Device(id="0", name="The device", memory_bytes=memory),),
        memory_bytes=memory,
        ram_bytes=memory,
        cores=2,
        measured={MEASURED_KEY: measured} if measured else {},
    )


class TestShapes:
    @pytest.mark.parametrize("model", _SHELF, ids=lambda model: model.slug)
    def test_the_shelf_s_measures_give_its_number_of_parameters(self, model: ShelfModel) -> None:
        shape = model.measures
        assert shape.counted == pytest.approx(model.parameters, rel=0.005)
        assert shape.is_derived == (model.shape is None)

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            (
                {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
                {"kv_heads": 4, "head_dim": 16, "ffn": 256},
            ),
            (
                {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": None},
                {"heads": 4, "ffn": 256, "is_gated": False, "is_tied": True},
            ),
            (
                {"text_config": {"hidden_size": 32, "num_hidden_layers": 3, "head_dim": 128}},
                {"hidden": 32, "layers": 3, "head_dim": 128},
            ),
            (
                {
                    "hidden_size": 32,
                    "num_hidden_layers": 1,
                    "intermediate_size": 500,
                    "num_experts_per_tok": 2,
                    "moe_intermediate_size": 40,
                    "tie_word_embeddings": False,
                },
                {"ffn": 80, "is_tied": False},
            ),
        ],
    )
    def test_many_families_are_read(
        self, config: dict[str, object], expected: dict[str, object]
    ) -> None:
        shape = TransformerShape.from_config(config)
        assert shape is not None
        assert {name: getattr(shape, name) for name in expected} == expected

    def test_the_files_decide_what_the_configuration_leaves_open(self) -> None:
        config = {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "vocab_size": 1000,
        }
        tied = TransformerShape.from_config(config, parameters=64_000 + 2 * 41_000)
        own_head = TransformerShape.from_config(config, parameters=128_000 + 2 * 41_000)
        assert tied is not None
        assert own_head is not None
        assert (tied.is_tied, own_head.is_tied) == (True, False)

    def test_nonsense_is_no_shape(self) -> None:
        assert TransformerShape.from_config({}) is None
        assert TransformerShape.from_config({"hidden_size": "big", "num_hidden_layers": 2}) is None

    def test_unknown_shapes_stand_for_their_size(self) -> None:
        assert shape_from_facts({}) is None
        for size in (2_000_000, 300_000_000, 7_000_000_000, 70_000_000_000):
            shape = shape_from_facts({"parameters": size, "shape": {"hidden": "?"}})
            assert shape is not None
            assert shape.is_derived
            assert shape.counted == pytest.approx(size, rel=0.1)


class TestMemory:
    def test_every_part_is_named_and_adds_up(self) -> None:
        memory = peak_memory(_SMALL, _WORK, _USUAL)
        assert set(memory.parts) == set(Cost)
        assert memory.total == pytest.approx(sum(memory.parts.values()))
        # Nothing of the file stays, in whichever format its numbers are calculated with.
        assert memory.parts[Cost.WEIGHTS] == 4 * 134_515_008
        narrow = peak_memory(_SMALL, _WORK, _USUAL.model_copy(update={"weight_bytes": 2}))
        assert narrow.parts[Cost.WEIGHTS] == 2 * 134_515_008

    def test_lora_trains_what_peft_would_count(self) -> None:
        # 30 layers: rank times inputs and outputs of q, k, v, o, gate, up and down.
        per_layer = 16 * (2 * 576 + 2 * (576 + 192) + 2 * 576 + 3 * (576 + 1536))
        assert trained_numbers(_SMALL, _WORK.method, _WORK.settings) == 30 * per_layer

    @pytest.mark.parametrize(
        "more",
        [
            {"longest_row": 1024, "tokens_per_micro_batch": 16_384},
            {"examples_per_update": 16, "tokens_per_micro_batch": 16_384},
            {"settings": {"rank": 64}},
            {"method": Method.DORA},
            {"method": Method.FULL, "settings": {}},
        ],
    )
    def test_more_work_takes_more(self, more: dict[str, Any]) -> None:
        alike = replace(_WORK, row_tokens=512)
        larger = peak_memory(_SMALL, replace(alike, **more), _USUAL)
        assert larger.total > peak_memory(_SMALL, alike, _USUAL).total

    def test_calculating_twice_saves_most_of_what_is_kept(self) -> None:
        once = peak_memory(_SMALL, _WORK, _USUAL).parts[Cost.ACTIVATIONS]
        twice = peak_memory(_SMALL, _WORK, _USUAL, recompute=True).parts[Cost.ACTIVATIONS]
        assert twice < once / 4

    def test_full_fine_tuning_needs_sixteen_bytes_a_parameter(self) -> None:
        full = plan(_LARGE, _WORK).full_memory
        assert full.parts[Cost.WEIGHTS] + full.parts[Cost.TRAINED] == 16 * _LARGE.size


class TestTime:
    def test_it_grows_with_the_work(self) -> None:
        once = training_seconds(_SMALL, _WORK, _USUAL) - _USUAL.start_seconds
        twice = training_seconds(_SMALL, replace(_WORK, epochs=4), _USUAL) - _USUAL.start_seconds
        assert twice == pytest.approx(2 * once, rel=0.02), "but for what only the first pass takes"

    def test_twice_the_cores_take_less(self) -> None:
        slow, fast = _machine(16), _machine(16).model_copy(update={"cores": 16})
        assert plan(_SMALL, _WORK, fast).seconds < plan(_SMALL, _WORK, slow).seconds


class TestAnswers:
    """The answers that are shown at each evaluation, and asked again at the end."""

    def test_wide_layers_take_longer_to_write_up_to_the_time_that_a_run_allows(self) -> None:
        work = replace(_WORK, held_out=1, evaluations=4, answer_tokens=100)
        answering, evaluating = [], []
        for hidden in (64, 512, 1024, 2048, 8192):
            wider = {"hidden": hidden, "ffn": 3 * hidden, "heads": hidden // 32, "head_dim": 32}
            shape = _SMALL.model_copy(update=wider)
            answering.append(shown_seconds(shape, work, _USUAL))
            evaluating.append(training_time(shape, work, _USUAL).evaluating)
        assert answering == sorted(answering)
        assert answering[2] > 2 * answering[0]
        assert answering[-1] == SHOWN_SECONDS
        # Four times by the model as it learns, and once by the base model.
        assert all(
            all_of_it > 5 * said for all_of_it, said in zip(evaluating, answering, strict=True)
        )

    def test_they_take_about_what_was_measured(self) -> None:
        """Two cores, 32 bits, ten rows side by side: 3.1 ms a word and each of 30 layers."""
        work = replace(_WORK, row_tokens=1, answer_tokens=100)
        each = recall_seconds(_SMALL, work, _USUAL) / 2
        assert each == pytest.approx(RECALL_TOKENS * 30 * 0.0031, rel=0.4)

    def test_long_questions_take_longer_to_read(self) -> None:
        short = replace(_WORK, answer_tokens=10, row_tokens=20)
        seconds = [
            shown_seconds(_SMALL, work, _USUAL) for work in (short, replace(short, row_tokens=800))
        ]
        assert seconds[1] > 1.5 * seconds[0]


class TestFits:
    @pytest.mark.parametrize(
        ("shape", "machine", "expected"),
        [
            (_SMALL, _machine(16), True),
            (_SMALL, _machine(1), False),
            (_LARGE, _machine(16), False),
            (_LARGE, _machine(80, DeviceKind.CUDA), True),
        ],
    )
    def test_on_a_device(
        self, shape: TransformerShape, machine: DeviceFacts, *, expected: bool
    ) -> None:
        assert plan(shape, _WORK, machine).fits is expected

    def test_the_words(self) -> None:
        good = for_any_examples(_SMALL, [_machine(64)])
        assert fit_sentences(good)[0].startswith("Fits on this machine: training needs about ")
        assert remedies(good) == ""
        assert full_sentence(good).startswith("Full fine-tuning would need about ")
        best = good.best
        cheap = replace(best.plan, full_memory=best.plan.memory)
        assert full_sentence(replace(good, devices=(replace(best, plan=cheap),))) == ""
        bad = for_any_examples(_LARGE, [_machine(16)])
        assert fit_sentences(bad)[0].startswith("Too large for this machine")
        assert "a smaller base model" in remedies(bad)
        assert "4 bits" not in remedies(bad)
        card = for_any_examples(_LARGE, [_machine(16, DeviceKind.CUDA)])
        assert not card.best.plan.fits_in_small_steps
        assert "4 bits" not in remedies(card), "nobody knows whether it can"
        able = for_any_examples(_LARGE, [with_few_bits(_machine(16, DeviceKind.CUDA))])
        assert "the base model is held in 4 bits" in remedies(able)

    def test_several_machines_are_named(self) -> None:
        both = for_any_examples(_LARGE, [_machine(16), _machine(80, DeviceKind.CUDA)])
        assert len(fit_sentences(both)) == 2
        assert all("The device (workshop)" in sentence for sentence in fit_sentences(both))
        assert both.best.plan.fits

    def test_unlike_cards_are_named_one_by_one_and_may_divide_what_fits_on_none(self) -> None:
        cards = [
            Device(id=name, name=name, memory_bytes=size * 10**9)
            for name, size in (("Small", 16), ("Large", 24))
        ]
        machine = _machine(16, DeviceKind.CUDA).model_copy(update={"devices": tuple(cards)})
        alone = for_any_examples(_BETWEEN, machine.together_and_apart())
        small, large = fit_sentences(alone)
        assert small.startswith("Too large for Small (workshop)")
        assert large.startswith("Fits on Large (workshop)")
        divided = for_any_examples(_BETWEEN_BOTH, machine.together_and_apart())
        assert len(fit_sentences(divided)) == 2
        assert not divided.fits
        assert "divided over all 2 devices" in remedies(divided)
        unknown = machine.model_copy(
            update={"devices": (cards[0], cards[1].model_copy(update={"memory_bytes": None}))}
        )
        assert unknown.together_and_apart() == [unknown]

    def test_nobody_is_there(self) -> None:
        (sentence,) = fit_sentences(for_any_examples(_SMALL, []))
        assert sentence.startswith("Training needs about ")

    def test_sizes_are_no_more_exact_than_they_are(self) -> None:
        assert about(1_234_567_890).replace("\N{NO-BREAK SPACE}", " ") == "1.2 GB"


def test_what_a_trial_measured_counts() -> None:
    measured = _USUAL.model_copy(update={"process_bytes": 10e9}).model_dump()
    trusted = plan(_SMALL, _WORK, _machine(64, measured=measured))
    assert trusted.is_measured
    assert trusted.memory.parts[Cost.PROCESS] > 10e9
    damaged = plan(_SMALL, _WORK, _machine(64, measured={"process_bytes": "much"}))
    assert not damaged.is_measured


class TestWork:
    def test_rows_of_one_length_stand_together_as_far_as_there_is_room(self) -> None:
        alike = replace(_WORK, row_tokens=100, longest_row=100)
        assert alike.most_at_once == 800
        assert replace(alike, tokens_per_micro_batch=250).most_at_once == 200
        assert replace(alike, row_tokens=9000, longest_row=9000).most_at_once == 9000

    @pytest.mark.parametrize("longest", [128, 512, 1024])
    @pytest.mark.parametrize("shortest", [0.5, 0.9])
    def test_rows_without_filling_go_together_as_far_as_there_is_room(
        self, longest: int, shortest: float
    ) -> None:
        lengths = np.linspace(longest * shortest, longest, 8).round().astype(np.int64)
        mean = float(lengths.mean())
        work = replace(_WORK, row_tokens=mean, longest_row=longest, examples=8, epochs=1)
        groups = divide(range(8), lengths, 4096, fills=False)
        fullest = max(int(lengths[group].sum()) for group in groups)
        assert fullest * 0.9 < work.most_at_once <= fullest * 2
        assert work.micro_batches == pytest.approx(len(groups), abs=2)

    @pytest.mark.parametrize(("longest", "shortest"), [(128, 0.7), (512, 0.5), (1024, 0.9)])
    @pytest.mark.parametrize(("examples", "per_update"), [(32, 4), (200, 8), (600, 16)])
    def test_filled_rows_stand_as_the_training_puts_them(
        self, longest: int, shortest: float, examples: int, per_update: int
    ) -> None:
        chance = np.random.Generator(np.random.PCG64(7))
        lengths = chance.integers(round(longest * shortest), longest, examples, endpoint=True)
        lengths[0] = longest
        work = replace(
            _WORK,
            row_tokens=float(lengths.mean()),
            longest_row=longest,
            examples=examples,
            examples_per_update=per_update,
            epochs=1,
            method=Method.DORA,
        )
        groups = [
            group
            for update in plan_epoch(lengths, 1, 0, per_update)
            for group in divide(update.tolist(), lengths, 4096)
        ]
        fullest = max(len(group) * int(lengths[group].max()) for group in groups)
        assert work.most_at_once == pytest.approx(fullest, rel=0.3)
        assert work.micro_batches == pytest.approx(len(groups), rel=0.2)

    def test_few_long_rows_among_many_short_ones_stand_apart(self) -> None:
        mixed = replace(_WORK, row_tokens=60, longest_row=1000, method=Method.DORA, examples=400)
        assert 1000 <= mixed.most_at_once <= 2200
        # Each long row alone, and the short ones together.
        assert mixed.micro_batches < 400 / 2

    def test_preferences_learn_from_two_rows_and_ask_the_base_model_first(self) -> None:
        answers = replace(_WORK, row_tokens=100, longest_row=100)
        pairs, thumbs = (
            replace(answers, objective=objective) for objective in (Objective.DPO, Objective.KTO)
        )
        assert pairs.most_at_once == 2 * answers.most_at_once
        assert thumbs.most_at_once == answers.most_at_once
        odds = replace(pairs, objective=Objective.ORPO)
        seconds = [
            training_seconds(_SMALL, work, _USUAL) - _USUAL.start_seconds
            for work in (answers, thumbs, odds, pairs)
        ]
        assert seconds == sorted(seconds)
        assert seconds[3] > 2 * seconds[0]


@pytest.mark.parametrize("method", list(Method))
def test_every_method_costs_something(method: Method) -> None:
    settings, _ = fill_settings(METHODS[method].settings, {})
    work = replace(_WORK, method=method, settings=settings)
    foretold = plan(_SMALL, work)
    least = 4 * _SMALL.size
    assert foretold.memory.total > least
    assert foretold.seconds > 0
