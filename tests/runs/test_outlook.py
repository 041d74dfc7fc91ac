"""What pages and queue ask the planner: with the examples that a training would really use."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from app.base_models.repository import get as get_base_model
from app.database.session import transaction
from app.datasets.service import add_examples
from app.runs.objectives import Objective
from app.runs.outlook import Outlook, work_of
from app.runs.planning import balanced_outlooks
from app.runs.recipe import Preset, fit_settings
from app.runs.repository import Lengths, lengths
from app.storage.folders import Storage
from tests.support.runs import examples, project_with_examples


def _outlook(engine: Engine, project_id: str) -> Outlook:
    with transaction(engine, read_only=True) as session:
        model = get_base_model(session, "starter")
        assert model is not None
        return balanced_outlooks(session, [model], project_id)["starter"]


def test_a_base_model_s_card_counts_what_the_proposed_training_uses(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    before = _outlook(engine, project_id)
    disliked = [
        replace(example, question=f"{example.question} Truly?", is_liked=False)
        for example in examples(12)
    ]
    with transaction(engine) as session:
        add_examples(session, project_id, disliked)
    assert _outlook(engine, project_id).seconds == pytest.approx(before.seconds, rel=0.1)
    with transaction(engine) as session:
        empty = project_with_examples(session, storage, 0).id
    with transaction(engine, read_only=True) as session:
        assert balanced_outlooks(session, [], empty) == {}


@pytest.mark.one_database
def test_lengths_tell_answers_from_questions(engine: Engine, project_id: str) -> None:
    with transaction(engine, read_only=True) as session:
        found = lengths(session, project_id)
        nothing = lengths(session, "nobodys")
    assert nothing == Lengths()
    first = examples(1)[0]
    share = len(first.answer) / (len(first.question) + len(first.answer))
    assert found.answer_share == pytest.approx(share, rel=0.1)
    assert found.longest >= found.average > len(first.answer)


def test_sorting_tells_no_word() -> None:
    settings = fit_settings(Preset.BALANCED, 100, 5_000_000, 512)
    known = Lengths(average=200.0, longest=400, answer_share=0.5)
    answers = work_of(settings, Objective.ANSWERS, known, 80, 20)
    assert (answers.answer_share, answers.rows_per_example) == (0.5, 1)
    assert work_of(settings, Objective.KINDS, known, 80, 20).answer_share == 0.0
    assert work_of(settings, Objective.DPO, known, 80, 20).rows_per_example == 2
