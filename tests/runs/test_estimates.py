"""How long it will take."""

import pytest

from app.runs.estimates import Machine, expected_seconds

_LAPTOP = Machine(cores=2, has_gpu=False)


def test_what_was_measured_counts_more_than_the_rule() -> None:
    past = [{"seconds": 10.0, "tokens_seen": 1000}, {"seconds": 30.0, "tokens_seen": 1000}]
    assert expected_seconds(1000, 10**9, past, _LAPTOP) == pytest.approx(8 + 20)


def test_a_small_run_does_not_make_a_large_one_seem_endless() -> None:
    small = {"seconds": 12.0, "tokens_seen": 3_200, "evaluation_seconds": 9.8, "evaluations": 5}
    seconds = expected_seconds(1_600_000, 10**6, [small], _LAPTOP)
    # 0.7 ms a token; asking the held-out questions takes as long as it did.
    assert seconds == pytest.approx(8 + 1_600_000 * 2.2 / 3_200 + 9.8)


def test_runs_of_like_size_are_the_guide() -> None:
    small = [{"seconds": 10.0, "tokens_seen": 1_000} for _ in range(3)]
    large = [{"seconds": 100.0, "tokens_seen": 100_000} for _ in range(3)]
    assert expected_seconds(2_000, 1, [*large, *small], _LAPTOP) == pytest.approx(8 + 20)
    assert expected_seconds(90_000, 1, [*small, *large], _LAPTOP) == pytest.approx(8 + 90)


def test_the_rule_gives_the_speed_it_was_made_from() -> None:
    # 32 million parameters on 2 cores: 1,250 tokens a second, and a fifth for measuring.
    seconds = expected_seconds(125_000, 32_000_000, [], _LAPTOP)
    assert seconds == pytest.approx(15 + 1.2 * 100)
    assert expected_seconds(125_000, 32_000_000, [], _LAPTOP, steps=100) > seconds


def test_results_without_numbers_are_passed_over() -> None:
    assert expected_seconds(0, 10**6, [{}, {"seconds": 1.0, "tokens_seen": 0}], _LAPTOP) == 15
