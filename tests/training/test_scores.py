"""What a model does to its scores is found by trying, not by the names of its numbers."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from worker.training.scores import Treatment, find_treatment

_GIVEN = torch.linspace(-9, 9, 50).reshape(5, 10)


def config(**numbers: Any) -> LlamaConfig:  # noqa: ANN401 (numbers that other models have)
    return LlamaConfig(**numbers)


@pytest.mark.parametrize(
    ("numbers", "scores", "expected"),
    [
        ({}, _GIVEN, Treatment()),
        # Granite divides by what HyperCLOVA X multiplies with.
        ({"logits_scaling": 8.0}, _GIVEN / 8, Treatment(0.125)),
        ({"logits_scaling": 8.0}, _GIVEN * 8, Treatment(8.0)),
        ({"logit_scale": 0.25}, _GIVEN * 0.25, Treatment(0.25)),
        ({"final_logit_softcapping": 5.0}, 5 * torch.tanh(_GIVEN / 5), Treatment(cap=5.0)),
        (
            {"output_multiplier": 0.5, "final_logit_softcapping": 5.0},
            5 * torch.tanh(_GIVEN / 10),
            Treatment(0.5, 5.0),
        ),
        ({}, _GIVEN + 0.5, None),
        ({"logit_scale": 3.0}, _GIVEN, None),
        # As MPT may have it.
        ({"logit_scale": "inv_sqrt_d_model"}, _GIVEN, None),
        ({}, _GIVEN[:, :-1], None),
    ],
)
def test_it_is_one_that_makes_the_scores(
    numbers: dict[str, Any], scores: torch.Tensor, expected: Treatment | None
) -> None:
    assert find_treatment(config(**numbers), _GIVEN, scores) == expected


def test_a_cap_that_hardly_shows_in_small_scores_is_kept_for_larger_ones() -> None:
    small = _GIVEN / 1000
    assert find_treatment(config(logits_soft_cap=30.0), small, small) == Treatment(cap=30.0)


def test_rounding_in_the_format_of_the_model_is_no_other_treatment() -> None:
    given = _GIVEN.bfloat16()
    scores = given / 3.0
    assert find_treatment(config(logits_scaling=3.0), given, scores) == Treatment(1 / 3.0)
