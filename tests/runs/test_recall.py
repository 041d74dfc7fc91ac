"""When a training changed nothing, and what would mend it."""

from typing import Any

import pytest

from app.runs.recall import Cause, are_alike, find_unchanged, is_unchanged

_RECIPE = {"learning_rate": 1e-3, "epochs": 4, "max_tokens_per_example": 512}
_PLAN = {"train_examples": 80, "validation_examples": 20, "steps_per_epoch": 25}
_SAME = {"asked": 10, "alike": 10, "right": 0, "loss_before": 3.0, "loss_after": 2.9}
_WHOLE = {"steps": 100, "planned_steps": 100, "ending": "planned"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("We open at nine.", "We open at nine.", True),
        ("We open at\nnine.", " We open  at nine.", True),
        ("We open at nine.", "We open at ten.", False),
        ("We open at nine and close at six, every day of the week.",) * 2 + (True,),
        ("We open at nine and close …", "We open at nine and close at six", True),
        ("We open at nine and close at six", "We open at nine and close …", True),
        ("We open at nine and close …", "We open at nine and close at six, but …", True),
        ("We open at nine and close", "We open at nine and close at six", False),
        # A short answer is another one than a long one that begins with it.
        ("Refund", "Refund. The customer writes that the cup was …", False),
        ("Refund. The customer writes that the cup was …", "Refund", False),
        ("", "", True),
        ("", "Yes.", False),
    ],
)
def test_answers_are_alike_to_a_reader(one: str, other: str, *, expected: bool) -> None:
    is_alike = are_alike(
        one.removesuffix(" …"),
        other.removesuffix(" …"),
        one_is_cut=one.endswith("…"),
        other_is_cut=other.endswith("…"),
    )
    assert is_alike == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"loss_after": 0.5}, True),
        ({"alike": 9}, True),
        ({"alike": 9, "loss_after": 2.0}, False),
        ({"alike": 5}, True),
        ({"alike": 4}, False),
        ({"alike": 0, "loss_before": 2.05, "loss_after": 1.95}, False),
        ({"alike": 7, "loss_after": 2.7}, False),
        ({"alike": 0, "loss_after": 4.0}, False),
        ({"alike": 8, "loss_before": None}, True),
        ({"asked": 0, "alike": 0}, True),
        ({"asked": 0, "alike": 0, "loss_after": 2.0}, False),
        ({"asked": 0, "alike": 0, "loss_after": None}, False),
        ({"asked": 1, "alike": 1}, True),
    ],
)
def test_nothing_changed_if_answers_stay_and_the_surprise_hardly_falls(
    changes: dict[str, Any], *, expected: bool
) -> None:
    assert is_unchanged({**_SAME, **changes}) == expected


@pytest.mark.parametrize(
    ("recipe", "plan", "result", "cause", "why", "choices"),
    [
        (
            {"learning_rate": 1e-6},
            {},
            {},
            Cause.SMALL_STEPS,
            "0.000001, where 0.001 is usual",
            {"learning_rate": "0.001"},
        ),
        (
            {},
            {},
            {"ending": "asked", "steps": 4},
            Cause.ENDED_EARLY,
            "after 4 of 100 steps",
            {},
        ),
        (
            {"epochs": 1},
            {"steps_per_epoch": 6},
            {"steps": 6, "planned_steps": 6},
            Cause.FEW_STEPS,
            "only 6 steps",
            {"epochs": "10"},
        ),
        (
            {},
            {"examples_cut": 60, "examples_left_out": 10},
            {},
            Cause.CUT_ROWS,
            "60 were shortened and 10 left out",
            {"max_tokens_per_example": "1024"},
        ),
        ({}, {}, {}, Cause.WEAK, "too little to show", {"learning_rate": "0.003", "epochs": "8"}),
        # The last of several reasons is not told where an earlier one explains it.
        ({"learning_rate": 1e-6}, {"examples_cut": 60}, {}, Cause.SMALL_STEPS, "very small", None),
        ({}, {"examples_cut": 10}, {}, Cause.WEAK, "too little", None),
    ],
)
def test_the_reason_and_what_mends_it(
    recipe: dict[str, Any],
    plan: dict[str, Any],
    result: dict[str, Any],
    cause: Cause,
    why: str,
    choices: dict[str, str] | None,
) -> None:
    found = find_unchanged(
        {**_RECIPE, **recipe}, {**_PLAN, **plan}, {**_WHOLE, "recall": _SAME, **result}, 1e-3
    )
    assert found is not None
    assert found.cause == cause
    assert why in found.why
    assert found.label
    if choices is not None:
        assert found.choices == choices


@pytest.mark.parametrize(
    ("most", "offered"), [(None, "1024"), (4096, "1024"), (700, "700"), (512, None), (256, None)]
)
def test_longer_examples_are_offered_as_far_as_the_base_model_reads(
    most: int | None, offered: str | None
) -> None:
    plan = {**_PLAN, "examples_cut": 60}
    found = find_unchanged(_RECIPE, plan, {**_WHOLE, "recall": _SAME}, 1e-3, most)
    assert found is not None
    assert found.cause == Cause.CUT_ROWS
    assert found.choices.get("max_tokens_per_example") == offered
    assert bool(found.label) == (offered is not None)
    assert ("can read no more" in found.why) == (offered is None)


def test_what_the_base_model_knew_needs_no_mending() -> None:
    recall = {**_SAME, "right": 9}
    found = find_unchanged(_RECIPE, _PLAN, {**_WHOLE, "recall": recall}, 1e-3)
    assert found is not None
    assert (found.cause, found.label) == (Cause.KNEW_IT, "")


@pytest.mark.parametrize("result", [_WHOLE, {**_WHOLE, "recall": None}])
def test_runs_from_before_are_not_judged(result: dict[str, Any]) -> None:
    assert find_unchanged(_RECIPE, _PLAN, result, None) is None


def test_a_preference_may_be_certain_while_every_answer_stays() -> None:
    recall = {**_SAME, "alike": 9, "loss_before": 0.693, "loss_after": 1e-9}
    compared = {**_RECIPE, "objective": "dpo", "objective_settings": {"answer_weight": 0.0}}
    found = find_unchanged(compared, _PLAN, {**_WHOLE, "recall": recall}, 1e-3)
    assert found is not None
    assert found.cause == Cause.ONLY_COMPARED
    assert found.choices == {"dpo.answer_weight": "1"}
    # An answer's own loss cannot fall so far while nothing changes.
    assert find_unchanged(_RECIPE, _PLAN, {**_WHOLE, "recall": recall}, 1e-3) is None
    learned = {**compared, "objective_settings": {"answer_weight": 1.0}}
    found = find_unchanged(learned, _PLAN, {**_WHOLE, "recall": recall}, 1e-3)
    assert found is not None
    assert found.cause == Cause.WEAK
    answered = {**recall, "alike": 2}
    assert find_unchanged(compared, _PLAN, {**_WHOLE, "recall": answered}, 1e-3) is None
