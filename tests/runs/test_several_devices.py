"""One run on several devices: what is offered, foretold, and said."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import TransformerShape
from app.jobs import RUNS_QUEUE
from app.runs.costs.work import Work
from app.runs.errors import MayNotFitError
from app.runs.methods import Method
from app.runs.objectives import Objective
from app.runs.outlook import Known, run_outlook
from app.runs.planner import plan
from app.runs.planning import check_fit
from app.runs.proposals import propose
from app.runs.recipe import Preset, RecipeChoices
from app.runs.service import settings_for, start_run
from app.runs.several_devices import counts_on_offer, devices_sentence, words_for
from app.runs.tables import Run
from app.storage.folders import Storage
from app.workers.device import DeviceFacts
from app.workers.repository import report
from tests.support.devices import ONE_CPU, cards
from tests.support.runs import project_with_examples


def test_what_is_offered_is_what_a_machine_has() -> None:
    assert counts_on_offer([ONE_CPU]) == []
    assert counts_on_offer([ONE_CPU, cards(2)]) == [1, 2]
    assert counts_on_offer([cards(6)]) == [1, 2, 4, 6]
    assert counts_on_offer([cards(40)]) == [1, 2, 4, 8, 16]
    assert words_for(["cuda", "cpu"]).count(1) == "1 device"


def test_what_came_of_the_wish_is_said() -> None:
    one, two, three = (cards(3).each()[number].as_json() for number in range(3))
    both = one | {"further": [two]}
    assert devices_sentence({}, one) == ""
    assert devices_sentence({"devices": 2}, None) == ""
    assert devices_sentence({"devices": 2}, both) == "It learns on 2 graphics cards at once."
    fewer = devices_sentence({"devices": 3}, both)
    assert fewer.startswith("It learns on 2 graphics cards of the 3 that it may use")
    assert "1 graphics card of the 3" in devices_sentence({"devices": 3}, three)


def test_a_model_that_fits_on_no_card_is_divided(session: Session, storage: Storage) -> None:
    project = project_with_examples(session, storage)
    model = session.get_one(BaseModel, "starter")
    fitted = settings_for(model, Preset.QUICK, 20, RecipeChoices())
    report(session, "there:1/runs", RUNS_QUEUE, cards(2))
    known = Known.of(session, project.id, [model])
    outlook = run_outlook(known, model, fitted, Objective.ANSWERS, 20, 5, devices=2)
    (device,) = outlook.devices
    assert device.divided is not None
    whole, parted = device.plan.least_memory.total, device.divided.least_memory.total
    assert parted < whole

    def begun(facts: DeviceFacts, **choices: Any) -> Run:  # noqa: ANN401 (fields of the choices)
        report(session, "there:1/runs", RUNS_QUEUE, facts)
        chosen = RecipeChoices(devices=2, **choices)
        return start_run(session, storage, project, model, Preset.QUICK, chosen, None)

    # A device lends 92 % of its memory.
    room = int((whole + parted) / 2 / 0.92)
    divided = begun(cards(2, room))
    assert divided.recipe["divides_model"]
    assert divided.needs_devices == 2
    assert "divided over 2 graphics cards" in devices_sentence(
        divided.recipe, cards(2).each()[0].as_json() | {"further": [{}]}
    )
    # Nobody is asked whether they mean it where it fits, divided as they chose.
    proposal = propose(session, project.id)
    check_fit(session, project, model, Preset.QUICK, RecipeChoices(devices=2), proposal)
    with pytest.raises(MayNotFitError):
        check_fit(session, project, model, Preset.QUICK, RecipeChoices(), proposal)
    for facts in (cards(2), cards(1, room), cards(2, room // 100)):
        run = begun(facts)
        assert not run.recipe["divides_model"]
        assert run.needs_devices == 1
    assert not begun(cards(2, room), method=Method.FULL).recipe["divides_model"]


def test_more_devices_are_foretold_to_take_less_time_and_no_more_memory() -> None:
    shape = TransformerShape.usual_for(500_000_000)
    work = Work(
        row_tokens=200, longest_row=400, examples=2000, epochs=3, held_out=100, settings={"rank": 8}
    )
    plans = [plan(shape, work.share(count), cards(4)) for count in (1, 2, 4)]
    seconds = [one.seconds for one in plans]
    assert seconds[0] > seconds[1] > seconds[2] > seconds[0] / 4
    assert plans[2].memory.total <= plans[0].memory.total
