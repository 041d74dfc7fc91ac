"""How long it will take."""

import pytest

from app.runs.estimates import expected_seconds


def test_what_was_measured_counts_more_than_the_rule() -> None:
    past = [{"seconds": 10.0, "tokens_seen": 1000}, {"seconds": 30.0, "tokens_seen": 1000}]
    assert expected_seconds(1000, past, 1.0) == pytest.approx(8 + 20)


def test_a_small_run_does_not_make_a_large_one_seem_endless() -> None:
    small = {"seconds": 12.0, "tokens_seen": 3_200, "evaluation_seconds": 9.8, "evaluations": 5}
    seconds = expected_seconds(1_600_000, [small], 1.0)
    # 0.7 ms a token; asking the held-out questions takes as long as it did.
    assert seconds == pytest.approx(8 + 1_600_000 * 2.2 / 3_200 + 9.8)


def test_runs_of_like_size_are_the_guide() -> None:
    small = [{"seconds": 10.0, "tokens_seen": 1_000} for _ in range(3)]
    large = [{"seconds": 100.0, "tokens_seen": 100_000} for _ in range(3)]
    assert expected_seconds(2_000, [*large, *small], 1.0) == pytest.approx(8 + 20)
    assert expected_seconds(90_000, [*small, *large], 1.0) == pytest.approx(8 + 90)


def test_results_without_numbers_are_passed_over() -> None:
    assert expected_seconds(0, [{}, {"seconds": 1.0, "tokens_seen": 0}], 15.0) == 15
