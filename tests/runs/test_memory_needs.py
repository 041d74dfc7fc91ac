"""A run that is queued asks for the memory that even its smallest form takes."""

from typing import Any

import pytest
from sqlalchemy import Engine

from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import SHAPE_FACT, TransformerShape
from app.database.session import transaction
from app.runs.few_bits import BaseForm, form_choices
from app.runs.holding import HeldRun, claim_next_run
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.needs import Needs
from app.runs.recipe import RecipeChoices
from app.runs.tables import Run
from app.storage.folders import Storage
from app.workers.device import DeviceFacts
from tests.support.devices import GIGABYTE, ONE_CPU, a_worker_is_there, cards, with_few_bits
from tests.support.runs import get_run, queue_run

_SMALL = cards(1, 8 * GIGABYTE).model_copy(update={"host": "small"})
_LARGE = cards(1, 80 * GIGABYTE).model_copy(update={"host": "large"})
# The measures of Llama 3.1 8B: 16 GB of weights in 16 bits.
_EIGHT_BILLION = TransformerShape(
    hidden=4096,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    ffn=14_336,
    vocabulary=128_256,
    is_tied=False,
    parameters=8_030_261_248,
)


def _queued(
    engine: Engine,
    storage: Storage,
    project_id: str,
    *there: DeviceFacts,
    shape: TransformerShape = _EIGHT_BILLION,
    **choices: Any,  # noqa: ANN401 (fields of the choices)
) -> Run:
    """Queue a run on a base model of these measures, where these machines are there."""
    for facts in there:
        a_worker_is_there(engine, facts)
    with transaction(engine) as session:
        model = session.get_one(BaseModel, "starter")
        model.facts = {**model.facts, SHAPE_FACT: shape.as_fact()}
    run_id = queue_run(engine, storage, project_id, choices=RecipeChoices(**choices))
    return get_run(engine, run_id)


def _claim(engine: Engine, facts: DeviceFacts) -> HeldRun | None:
    with transaction(engine) as session:
        return claim_next_run(session, facts.each()[0])


def test_a_run_that_was_promised_for_the_large_card_goes_to_no_small_one(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run = _queued(engine, storage, project_id, _SMALL, _LARGE)
    assert run.needs_memory_bytes is not None
    assert 12 * GIGABYTE < run.needs_memory_bytes < 17 * GIGABYTE
    assert run.needs_memory_bytes % GIGABYTE == 0
    assert _claim(engine, _SMALL) is None
    held = _claim(engine, _LARGE)
    assert held is not None
    assert held.id == run.id


@pytest.mark.one_database
def test_the_largest_card_of_a_machine_takes_what_fits_there_alone(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    unlike = _SMALL.devices[0], _LARGE.devices[0].model_copy(update={"id": "GPU-1"})
    machine = _SMALL.model_copy(update={"devices": unlike})
    run = _queued(engine, storage, project_id, machine)
    assert run.needs_memory_bytes is not None
    assert run.needs_memory_bytes > 12 * GIGABYTE
    assert run.promise is not None
    assert run.promise["device"] == "A card"
    small, large = machine.each()
    with transaction(engine) as session:
        assert claim_next_run(session, small) is None
        held = claim_next_run(session, large)
    assert held is not None
    assert held.id == run.id


@pytest.mark.one_database
def test_where_no_device_has_the_memory_it_may_be_tried_on_any(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    assert _queued(engine, storage, project_id).needs_memory_bytes is None
    assert _queued(engine, storage, project_id, _SMALL).needs_memory_bytes is None
    assert _claim(engine, _SMALL) is not None


@pytest.mark.one_database
def test_what_it_falls_back_to_by_itself_counts(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    small = with_few_bits(_SMALL)
    run = _queued(engine, storage, project_id, small, with_few_bits(_LARGE))
    assert run.needs_memory_bytes is not None
    assert run.needs_memory_bytes <= 8 * GIGABYTE, "4 bits are enough"
    whole = _queued(engine, storage, project_id, **form_choices(BaseForm.WHOLE))
    assert whole.needs_memory_bytes is not None
    assert whole.needs_memory_bytes > 12 * GIGABYTE
    held = _claim(engine, small)
    assert held is not None
    assert held.id == run.id
    assert _claim(engine, small) is None


@pytest.mark.one_database
@pytest.mark.parametrize(
    "shape",
    [
        TransformerShape.usual_for(8_000_000_000),
        TransformerShape.usual_for(5_000_000).model_copy(update={"is_derived": False}),
    ],
)
def test_nothing_is_asked_for_by_guess_or_where_it_hardly_matters(
    engine: Engine, storage: Storage, project_id: str, shape: TransformerShape
) -> None:
    run = _queued(engine, storage, project_id, _LARGE, ONE_CPU, shape=shape)
    assert run.needs_memory_bytes is None


@pytest.mark.one_database
def test_a_divided_one_asks_for_it_on_as_many_devices(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    pair = cards(2, 16 * GIGABYTE).model_copy(update={"host": "pair"})
    narrow = cards(2, 8 * GIGABYTE).model_copy(update={"host": "narrow"})
    run = _queued(engine, storage, project_id, pair, narrow, devices=2)
    assert run.recipe["divides_model"]
    assert run.needs_memory_bytes is not None
    assert 8 * GIGABYTE <= run.needs_memory_bytes <= 16 * GIGABYTE


@pytest.mark.one_database
def test_what_is_missing_is_named_alone(engine: Engine, storage: Storage, project_id: str) -> None:
    run = _queued(engine, storage, project_id, _LARGE)
    # Its machine went away, and a smaller one came.
    a_worker_is_there(engine, _LARGE.model_copy(update={"devices": _SMALL.devices}))
    with transaction(engine) as session:
        place = places_in_queue(session, [run.id])[run.id]
    assert place.lacks == Needs(memory_bytes=run.needs_memory_bytes)
