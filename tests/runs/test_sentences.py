"""Numbers in, words out."""

import pytest

from app.runs.sentences import (
    data_sentence,
    learning_sentence,
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
        (0.5, "2 times less surprised by held-out answers"),
        (1.1, "About as surprised by held-out answers as before"),
        (1.3, "1.3 times more surprised by held-out answers"),
        (None, ""),
    ],
)
def test_a_table_says_worse_where_it_is_worse(after: float | None, expected: str) -> None:
    assert short_result(1.0, after) == expected


@pytest.mark.parametrize("after", [0.5, 0.9, 1.05, 1.14, 1.3])
def test_verdict_and_sentence_agree(after: float) -> None:
    words = {"better": "less surprising", "same": "about as", "worse": "more surprising"}
    assert words[verdict(1.0, after)] in result_sentence(1.0, after)


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
