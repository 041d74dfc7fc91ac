"""What is proposed to be learned follows from what the examples are."""

import pytest

from app.datasets.shapes import Shape
from app.runs.objectives import Goal, Objective
from app.runs.outcomes import confusion_of, outcome_sentence, outcome_verdict
from app.runs.proposals import Facts, chosen_objective, proposal_from
from app.runs.recipe import Preset, Recipe, fit_settings


@pytest.mark.parametrize(
    ("facts", "objective", "goals"),
    [
        (Facts({Shape.ANSWER: 50}), Objective.ANSWERS, {Goal.ANSWER}),
        (Facts({Shape.PASSAGE: 50}), Objective.TEXTS, {Goal.STYLE}),
        (Facts({Shape.PAIR: 40, Shape.ANSWER: 9}), Objective.DPO, {Goal.PREFER, Goal.ANSWER}),
        (Facts({Shape.THUMB: 40}, liked=30), Objective.KTO, {Goal.PREFER, Goal.ANSWER}),
        (
            Facts({Shape.LABEL: 40}, kinds={"a": 30, "b": 10}),
            Objective.KINDS,
            {Goal.SORT, Goal.ANSWER},
        ),
    ],
)
def test_the_proposal_fits_the_examples(
    facts: Facts, objective: Objective, goals: set[Goal]
) -> None:
    proposal = proposal_from(facts)
    assert proposal.objective is objective
    assert proposal.why.startswith("Your examples are")
    assert {goal for goal, _ in proposal.goals} == goals


def test_mixed_examples_say_what_is_left_out() -> None:
    proposal = proposal_from(Facts({Shape.PAIR: 30, Shape.ANSWER: 12, Shape.THUMB: 4}, liked=3))
    assert proposal.offers[Objective.DPO].left_out_sentence == (
        "16 examples are left out, because nothing says what people thought of the answer."
    )
    assert proposal.offers[Objective.KTO].usable == 34
    assert proposal.offers[Objective.ANSWERS].left_out == 1
    assert chosen_objective({"goal": "prefer", "objective": "orpo"}, proposal) is Objective.ORPO
    assert chosen_objective({"goal": "answer"}, proposal) is Objective.ANSWERS
    assert chosen_objective({"goal": "sort"}, proposal) is Objective.DPO


def test_recipes_fill_in_and_check_the_objectives_settings() -> None:
    fitted = fit_settings(Preset.BALANCED, 100, 5_000_000, 512, objective=Objective.DPO)
    plain = fit_settings(Preset.BALANCED, 100, 5_000_000, 512)
    assert fitted.learning_rate == pytest.approx(0.5 * plain.learning_rate)
    content = {
        "preset": "quick",
        "base_model_id": "x",
        "base_model_name": "x",
        "base_model_folder": "/x",
        "base_model_fingerprint": "x",
        **fitted.model_dump(),
    }
    recipe = Recipe.model_validate({**content, "objective": "dpo"})
    usual = {"beta": 0.1, "answer_weight": 1.0, "label_smoothing": 0.0}
    assert recipe.objective_settings == usual
    assert Recipe.model_validate(content).objective is Objective.ANSWERS
    with pytest.raises(ValueError, match="Caution"):
        Recipe.model_validate({**content, "objective": "dpo", "objective_settings": {"beta": 0}})


def test_what_came_of_it_in_sentences() -> None:
    result = {
        "right_before": 0.25,
        "right_after": 0.75,
        "kinds": ["a", "b"],
        "confusion": [[0, 0, 2], [0, 1, 1], [1, 1, 1]],
    }
    assert "sorts 75\N{NO-BREAK SPACE}% of the texts" in outcome_sentence(Objective.KINDS, result)
    preferred = outcome_sentence(Objective.DPO, result).replace("\N{NO-BREAK SPACE}", " ")
    assert "in 75 % of the pairs; before, it was in 25 %." in preferred
    assert outcome_verdict(result) == "better"
    confusion = confusion_of(result)
    assert confusion is not None
    assert confusion.rows == [("a", 3, [2, 1]), ("b", 1, [0, 1])]
    [mistake] = confusion.most_confused
    assert (mistake.kind, mistake.taken_for, mistake.count, mistake.of) == ("a", "b", 1, 3)
    assert confusion_of({"loss_before": 1.0}) is None
