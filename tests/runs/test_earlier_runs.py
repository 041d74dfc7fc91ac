"""What earlier runs took corrects what the planner says, and only where they can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from app.base_models.tables import BaseModel
from app.runs.costs.seconds import TrainingTime
from app.runs.device_constants import MEASURED_KEY, DeviceConstants
from app.runs.earlier_runs import EarlierRun
from app.runs.estimates import work_of
from app.runs.methods import Method
from app.runs.objectives import Objective
from app.runs.outlook import Known, Outlook, run_outlook
from app.runs.repository import Lengths, PastRun
from app.workers.device import DeviceFacts
from tests.support.devices import ONE_CPU, cards
from tests.support.runs import RECIPE_OF_NOTHING

_MODEL: Final = BaseModel(id="any", name="Any", facts={"parameters": 30_000_000})
_LENGTHS: Final = Lengths(average=600.0, longest=1200, answer_share=0.5)
_HELD_OUT: Final = 50


@dataclass(frozen=True)
class Training:
    """A training of which both is known: what the planner says, and what it would measure."""

    examples: int = 400
    epochs: int = 3
    method: Method = Method.LORA
    objective: Objective = Objective.ANSWERS

    @property
    def recipe_json(self) -> dict[str, Any]:
        return RECIPE_OF_NOTHING.model_dump(mode="json") | {
            "method": self.method,
            "method_settings": {},
            "objective": self.objective,
            "objective_settings": {},
            "epochs": self.epochs,
            "max_tokens_per_example": 1024,
        }

    def said(self, device: DeviceFacts = ONE_CPU) -> TrainingTime:
        """What the planner says of it by itself."""
        (there,) = self.outlook([], device).devices
        return there.plan.time

    def outlook(self, earlier: Sequence[PastRun], *devices: DeviceFacts) -> Outlook:
        told = [run for past in earlier if (run := EarlierRun.of(past, _LENGTHS))]
        known = Known(_LENGTHS, devices, {_MODEL.id: told})
        recipe = RECIPE_OF_NOTHING.model_validate(self.recipe_json)
        counts = (self.objective, self.examples, _HELD_OUT)
        return run_outlook(known, _MODEL, recipe, *counts)

    def past(self, slower: float = 1.0, device: DeviceFacts = ONE_CPU, **changed: float) -> PastRun:
        """The row of such a run that took so many times as long as the planner says."""
        recipe = RECIPE_OF_NOTHING.model_validate(self.recipe_json)
        work = work_of(recipe, self.objective, _LENGTHS, self.examples, _HELD_OUT)
        rows = self.epochs * self.examples * (2 if self.objective in _PAIRS else 1)
        said = self.said(device)
        result = {
            "epochs": float(self.epochs),
            "tokens_seen": round(rows * work.row_tokens),
            "seconds": slower * (said.learning + said.evaluating),
            "evaluation_seconds": slower * said.evaluating,
            "evaluations": recipe.evaluations,
        }
        one = device.each()[0].as_json()
        return PastRun(self.recipe_json, self.examples, _HELD_OUT, one, result | changed)


_PAIRS: Final = (Objective.DPO, Objective.ORPO, Objective.KTO)


@pytest.mark.parametrize("objective", [Objective.ANSWERS, Objective.KINDS, *_PAIRS])
@pytest.mark.parametrize("method", [Method.LORA, Method.DORA])
def test_the_same_again_takes_what_it_took(method: Method, objective: Objective) -> None:
    training = Training(method=method, objective=objective)
    said, past = training.said(), training.past(slower=3.0)
    foretold = training.outlook([past], ONE_CPU).seconds
    took = past.result["seconds"]
    assert foretold == pytest.approx(said.around + 3 * said.beforehand + took, rel=0.05)


def test_pairs_take_twice_as_long_after_a_run_on_answers_too() -> None:
    answers, pairs = Training(), Training(objective=Objective.DPO)
    foretold = pairs.outlook([answers.past(slower=3.0)], ONE_CPU).seconds
    assert foretold > 2 * answers.past(slower=3.0).result["seconds"]


@pytest.mark.parametrize("method", [Method.FULL, Method.LOHA, Method.BOFT])
def test_another_method_takes_as_many_times_as_long_as_the_planner_says(method: Method) -> None:
    lora, other = Training(), Training(method=method)
    past = lora.past(slower=2.0)
    ratio = other.said().learning / lora.said().learning
    assert ratio > 1.1
    said, foretold = other.said(), other.outlook([past], ONE_CPU).seconds
    assert foretold == pytest.approx(said.around + 2 * (said.learning + said.evaluating), rel=0.05)


def test_a_run_of_the_same_method_is_the_better_guide() -> None:
    lora, full = Training(), Training(method=Method.FULL)
    past = [lora.past(slower=1.0), lora.past(slower=1.0), full.past(slower=4.0)]
    said, foretold = full.said(), full.outlook(past, ONE_CPU).seconds
    assert foretold == pytest.approx(said.around + 4 * (said.learning + said.evaluating), rel=0.05)


def test_another_kind_of_device_does_not_count() -> None:
    training = Training()
    past = training.past(slower=5.0, device=cards())
    alone = training.outlook([], ONE_CPU).seconds
    assert training.outlook([past], ONE_CPU).seconds == alone
    processor, card = training.outlook([past], ONE_CPU, cards()).devices
    assert processor.seconds == alone
    assert card.seconds > 3 * training.said(cards()).learning
    assert training.outlook([past], cards(2)).seconds == pytest.approx(card.seconds)
    assert training.outlook([past]).seconds != training.outlook([]).seconds, "it may come back"


def test_the_device_that_is_really_quicker_is_the_best() -> None:
    training = Training()
    assert training.outlook([], ONE_CPU, cards()).best.name == "A card"
    slow = training.past(slower=25.0, device=cards(), evaluation_seconds=0.0, evaluations=0)
    fast = training.past(slower=0.04, evaluation_seconds=0.0, evaluations=0)
    assert training.outlook([slow, fast], ONE_CPU, cards()).best.name == "A processor"


def test_several_devices_are_quicker_by_what_the_planner_says() -> None:
    training = Training()
    told = EarlierRun.of(training.past(slower=2.0, device=cards()), _LENGTHS)
    assert told is not None
    recipe = RECIPE_OF_NOTHING.model_validate(training.recipe_json)
    both = []
    for earlier in ([], [told]):
        known = Known(_LENGTHS, [cards(2)], {_MODEL.id: earlier})
        one, two = (
            run_outlook(known, _MODEL, recipe, Objective.ANSWERS, 400, 0, count).best
            for count in (1, 2)
        )
        both.append((one.seconds - one.plan.time.around) / (two.seconds - two.plan.time.around))
    assert both[0] == pytest.approx(both[1])
    assert both[0] > 1.1


def test_a_run_that_ended_early_counts_for_what_it_did() -> None:
    training = Training(epochs=10)
    whole = training.past(slower=3.0)
    few = whole.result | {"epochs": 2.5, "evaluations": 1}
    for name in ("tokens_seen", "seconds", "evaluation_seconds"):
        few[name] = whole.result[name] / 4
    said = training.said()
    foretold = training.outlook([replace(whole, result=few)], ONE_CPU).seconds
    assert foretold == pytest.approx(said.total + 2 * said.learning, rel=0.1)


def test_a_small_run_does_not_make_a_large_one_seem_endless() -> None:
    small, large = Training(examples=8, epochs=1), Training(examples=20_000)
    said = small.said().learning + small.said().evaluating
    foretold = large.outlook([small.past(slower=1.0, seconds=said + 10.0)], ONE_CPU).seconds
    assert foretold < 3 * large.said().total


@pytest.mark.parametrize(("is_measured", "most"), [(True, 5), (False, 25)])
def test_one_odd_run_spoils_nothing_for_long(*, is_measured: bool, most: float) -> None:
    measured = {MEASURED_KEY: DeviceConstants.of(None).model_dump(mode="json")}
    machine = ONE_CPU.model_copy(update={"measured": measured if is_measured else {}})
    training = Training()
    odd, usual = training.past(slower=1000.0), training.past(slower=1.0)
    assert training.outlook([odd], machine).seconds <= most * training.said(machine).total
    foretold = training.outlook([odd, usual, usual], machine).seconds
    assert foretold == pytest.approx(training.said(machine).total, rel=0.1)


def test_runs_of_like_size_are_the_guide() -> None:
    small, large = Training(examples=200), Training(examples=20_000)
    past = [*(small.past(slower=4.0) for _ in range(3)), *(large.past() for _ in range(3))]
    for training, slower in ((small, 4.0), (large, 1.0)):
        said, foretold = training.said(), training.outlook(past, ONE_CPU).seconds
        assert foretold == pytest.approx(
            said.around + slower * (said.learning + said.evaluating), rel=0.1
        )


def test_it_counts_the_tokens_that_were_read() -> None:
    """Letters in a token differ between languages: here each example was twice as long."""
    training = Training()
    past = training.past()
    read = {"tokens_seen": 2 * past.result["tokens_seen"]}
    foretold = training.outlook([replace(past, result=past.result | read)], ONE_CPU).seconds
    said = training.said()
    assert foretold - said.around == pytest.approx((said.total - said.around) / 2, rel=0.2)


def test_results_that_cannot_be_compared_are_passed_over() -> None:
    good = Training().past()
    nothing = [
        replace(good, result={}),
        replace(good, result=good.result | {"tokens_seen": 0}),
        replace(good, result=good.result | {"held_as": "3bit"}),
        replace(good, recipe=good.recipe | {"method": "unheard of"}),
        replace(good, recipe={}),
    ]
    assert [EarlierRun.of(past, _LENGTHS) for past in nothing] == [None] * len(nothing)
    bare = {name: good.result[name] for name in ("tokens_seen", "seconds")}
    told = EarlierRun.of(PastRun(good.recipe, 400, 0, {}, bare), Lengths())
    assert told is not None, "of an earlier Tailor"
    assert told.work.epochs == 3
