"""What pages and queue ask the planner: with the examples that a training would really use."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine
from tokenizers import Tokenizer

from app.base_models.repository import get as get_base_model
from app.base_models.tables import BaseModel
from app.database.session import transaction
from app.datasets.content import NewExample
from app.datasets.service import add_examples
from app.datasets.shapes import Turn
from app.runs.estimates import bytes_per_token, work_of
from app.runs.objectives import Objective
from app.runs.outlook import Outlook
from app.runs.planning import balanced_outlooks
from app.runs.recipe import Preset, fit_settings
from app.runs.repository import Lengths, lengths, past_runs
from app.settings import REPOSITORY_ROOT
from app.storage.folders import Storage
from tests.support.runs import add_past_run, examples, project_with_examples
from tests.support.statements import counted_statements


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


def test_a_text_without_latin_letters_counts_by_what_its_letters_take(
    engine: Engine, storage: Storage
) -> None:
    with transaction(engine) as session:
        project_id = project_with_examples(session, storage, 0).id
        add_examples(session, project_id, [NewExample(question="问" * 20, answer="答" * 40)])
    with transaction(engine, read_only=True) as session:
        # A tokenizer makes about as many tokens of one as of three Latin letters.
        assert lengths(session, project_id) == Lengths(180.0, 180, 120 / 180)


@pytest.mark.one_database
def test_many_base_models_ask_no_more_than_one(engine: Engine, project_id: str) -> None:
    with transaction(engine, read_only=True) as session:
        model = get_base_model(session, "starter")
        assert model is not None
        costs = []
        for models in ([model], [model] * 20):
            with counted_statements(engine) as statements:
                balanced_outlooks(session, models, project_id)
            costs.append(len(statements))
    assert costs[0] == costs[1]


def test_each_base_model_is_judged_by_the_newest_of_its_own_runs(
    engine: Engine, project_id: str
) -> None:
    with transaction(engine) as session:
        session.add(BaseModel(id="other", source="folder", name="Other", facts={}))
        session.flush()
        for number in range(6):
            result = {"seconds": float(number), "devices": 2 if number == 3 else 1}
            model = ("starter", "other")[number % 2]
            add_past_run(session, project_id, None, number + 1, model, **result)
    with transaction(engine, read_only=True) as session:
        found = past_runs(session, ["starter", "other", "none"], limit=2)
    seconds = {name: [past.result["seconds"] for past in runs] for name, runs in found.items()}
    assert seconds == {"starter": [4.0, 2.0], "other": [5.0]}
    assert found["other"][0].device == {}, "an earlier Tailor did not write down where it was"


def test_lengths_count_earlier_turns_and_the_longer_of_two_answers(
    engine: Engine, storage: Storage
) -> None:
    earlier = [Turn(role="user", content="a" * 300), Turn(role="assistant", content="b" * 300)]
    talk = NewExample(question="q" * 10, answer="w" * 90, earlier_turns=earlier)
    pair = NewExample(question="q" * 10, answer="w" * 90, rejected="r" * 990)
    shorter = NewExample(question="q" * 10, answer="w" * 90, rejected="r" * 9)
    found = []
    for example in (talk, pair, shorter):
        with transaction(engine) as session:
            project = project_with_examples(session, storage, 0)
            add_examples(session, project.id, [example])
            found.append(lengths(session, project.id))
    # The marks around the turns are counted as well, which take tokens, too.
    assert 700 <= found[0].longest < 850
    assert found[0].answer_share == pytest.approx((90 + 300) / 700, rel=0.1)
    assert found[1] == Lengths(1000.0, 1000, 0.99)
    assert found[2] == Lengths(100.0, 100, 0.9)


def test_sorting_tells_no_word() -> None:
    settings = fit_settings(Preset.BALANCED, 100, 5_000_000, 512)
    known = Lengths(average=200.0, longest=400, answer_share=0.5)
    answers = work_of(settings, Objective.ANSWERS, known, 80, 20)
    assert (answers.answer_share, answers.rows_per_example) == (0.5, 1)
    kinds = work_of(settings, Objective.KINDS, known, 80, 20)
    assert (kinds.answer_share, kinds.answer_tokens) == (0.0, 0)
    assert work_of(settings, Objective.DPO, known, 80, 20).rows_per_example == 2


def test_a_small_vocabulary_makes_more_tokens_of_the_same_text() -> None:
    """As many as it really makes, of the samples and of Tailor's own README."""
    folder = REPOSITORY_ROOT / "app"
    texts = [(REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")]
    texts += [
        file.read_text(encoding="utf-8")
        for file in (folder / "projects" / "samples").glob("*/examples.jsonl")
    ]
    tokenizer = Tokenizer.from_file(str(folder / "base_models" / "starter" / "tokenizer.json"))
    for text in texts:
        real = len(tokenizer.encode(text, add_special_tokens=False).ids)
        said = len(text.encode()) / bytes_per_token(tokenizer.get_vocab_size())
        assert real == pytest.approx(said, rel=0.45)
    assert bytes_per_token(50_000) == bytes_per_token(250_000) == 4.0
