"""Numbers in, words out."""

from typing import Any

import pytest

from app.runs.sentences import (
    data_sentence,
    ending_sentence,
    learning_sentence,
    passes,
    patience_sentence,
    phase_words,
    result_sentence,
    short_result,
    training_only_sentence,
    verdict,
)
from app.runs.status import RunStatus


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [
        ([], "still to come"),
        ([(0, 3.0)], "where it starts"),
        ([(0, 3.0), (10, 1.0)], "now finds your answers 3 times less surprising than before."),
        ([(0, 3.0), (10, 2.9)], "about as surprising"),
        ([(0, 1.0), (10, 2.0)], "2 times more surprising"),
        ([(0, 3.0), (5, 1.0), (10, 1.5)], "better a while ago"),
        ([(0, 3.0), (10, float("nan"))], "where it starts"),
        ([(0, 3.0), (10, 0.0)], "hardly surprising"),
    ],
)
def test_the_chart_has_a_sentence(held_out: list[tuple[float, float]], expected: str) -> None:
    assert expected in learning_sentence(held_out)


@pytest.mark.parametrize(
    ("before", "after", "word", "expected"),
    [
        (3.0, 1.0, "better", "3 times less surprising"),
        (3.0, 2.95, "same", "about as surprising"),
        (1.0, 1.3, "worse", "1.3 times more surprising"),
        (None, 1.0, "unknown", "too few examples"),
        (2.0, 0.0, "unknown", "hardly surprising"),
    ],
)
def test_the_result_has_a_sentence_and_a_verdict(
    before: float | None, after: float | None, word: str, expected: str
) -> None:
    assert verdict(before, after) == word
    assert expected in result_sentence(before, after)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (0.5, "2 times less surprised by held-out examples"),
        (0.00002, "Over 1,000 times less surprised by held-out examples"),
        (1.1, "About as surprised by held-out examples as before"),
        (1.3, "1.3 times more surprised by held-out examples"),
        (None, ""),
    ],
)
def test_a_table_says_worse_where_it_is_worse(after: float | None, expected: str) -> None:
    assert short_result(1.0, after) == expected


@pytest.mark.parametrize("after", [0.5, 0.9, 1.05, 1.14, 1.3])
def test_verdict_and_sentence_agree(after: float) -> None:
    words = {"better": "less surprising", "same": "about as", "worse": "more surprising"}
    assert words[verdict(1.0, after)] in result_sentence(1.0, after)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, ""),
        ({"ending": "planned", "planned_steps": 40, "steps": 40}, ""),
        (
            {"ending": "asked", "planned_steps": 1_400, "steps": 1_040, "best_step": 1_000},
            "to finish after step 1,040 of 1,400, and keeps its best state, that of step 1,000.",
        ),
        (
            {"ending": "asked", "planned_steps": 40, "steps": 14, "best_step": 14},
            "It was asked to finish after step 14 of 40.",
        ),
        (
            {"ending": "no_better", "planned_steps": 180, "steps": 90, "best_step": 60},
            "It stopped by itself after step 90 of 180: 2 checks in a row on the held-out examples",
        ),
    ],
)
def test_an_early_end_is_told_with_its_reason(result: dict[str, Any], expected: str) -> None:
    said = ending_sentence(result, patience=2)
    assert expected in said
    assert bool(said) == bool(expected)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([3.0, 2.0], 0, ""),
        ([3.0], 1, "after one check on"),
        ([3.0, 2.0], 2, "after 2 checks in a row on"),
        ([3.0, 2.0, 2.1], 2, "The last check on the held-out examples brought nothing better; "),
        ([3.0, 2.0, 2.1], 2, "after one more check like that"),
        ([3.0, 2.0, 2.1, 2.2], 4, "The last 2 checks"),
        ([1.0, 2.0, 1.9], 2, "after 2 checks in a row on"),
    ],
)
def test_that_it_may_stop_by_itself_is_said_beforehand(
    losses: list[float], patience: int, expected: str
) -> None:
    said = patience_sentence([(10 * i, loss) for i, loss in enumerate(losses)], patience)
    assert expected in said
    assert bool(said) == bool(patience)


@pytest.mark.parametrize(
    ("done", "expected"), [(None, "3"), (3.0, "3"), (1.75, "1.8 of 3 planned")]
)
def test_passes_are_those_that_were_made(done: float | None, expected: str) -> None:
    assert passes(done, 3) == expected


def test_without_held_out_examples_it_says_so() -> None:
    assert "No example was held out" in training_only_sentence([(1, 4.0), (9, 1.0)])


def test_cut_and_left_out_examples_are_told() -> None:
    assert data_sentence(0, 0) == ""
    assert data_sentence(1, 1_200) == (
        "1 example was too long to read at once; what comes before the answer was shortened, "
        "never the answer. 1,200 examples were left out, because the answer was too long or empty."
    )


def test_every_phase_has_a_title() -> None:
    for status in RunStatus:
        assert phase_words(status, "something new").title
