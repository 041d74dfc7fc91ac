"""When a training changed nothing, and what would mend it."""

from typing import Any

import pytest

from app.runs.recall import Cause, are_alike, find_unchanged, is_unchanged

_RECIPE = {"learning_rate": 1e-3, "epochs": 4, "max_tokens_per_example": 512}
_PLAN = {"train_examples": 80, "validation_examples": 20, "steps_per_epoch": 25}
_SAME = {"asked": 10, "alike": 10, "right": 0, "loss_before": 3.0, "loss_after": 2.9}
_WHOLE = {"steps": 100, "planned_steps": 100, "ending": "planned"}


@pytest.mark.parametrize(
    ("one", "other", "is_cut", "expected"),
    [
        ("We open at nine.", "We open at nine.", False, True),
        ("We open at\nnine.", " We open  at nine.", False, True),
        ("We open at nine.", "We open at ten.", False, False),
        ("We open at nine and close at six, every day of the week.",) * 2 + (False, True),
        ("We open at nine and close", "We open at nine and close at six", True, True),
        ("We open at nine and close", "We open at nine and close at six", False, False),
        ("", "", False, True),
        ("", "Yes.", False, False),
    ],
)
def test_answers_are_alike_to_a_reader(
    one: str, other: str, *, is_cut: bool, expected: bool
) -> None:
    assert are_alike(one, other, is_cut=is_cut) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"loss_after": 0.5}, True),
        ({"alike": 9}, True),
        ({"alike": 9, "loss_after": 2.0}, False),
        ({"alike": 3}, True),
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


def test_what_the_base_model_knew_needs_no_mending() -> None:
    recall = {**_SAME, "right": 9}
    found = find_unchanged(_RECIPE, _PLAN, {**_WHOLE, "recall": recall}, 1e-3)
    assert found is not None
    assert (found.cause, found.label) == (Cause.KNEW_IT, "")


@pytest.mark.parametrize("result", [_WHOLE, {**_WHOLE, "recall": None}])
def test_runs_from_before_are_not_judged(result: dict[str, Any]) -> None:
    assert find_unchanged(_RECIPE, _PLAN, result, None) is None
