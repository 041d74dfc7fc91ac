"""What the planner counts of each method, against real small models."""

from dataclasses import replace

import pytest
import torch

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.kept import attention_weights, kept_per_pass, kept_per_token
from app.runs.costs.trained import trained_numbers
from app.runs.costs.work import Work
from app.runs.methods import METHODS, Method, Quantization
from app.runs.setting import fill_settings
from tests.support.kept_bytes import Worn

_ROWS, _LENGTH = 3, 160


def _shape(layers: int) -> TransformerShape:
    return TransformerShape(
        hidden=96, layers=layers, heads=4, kv_heads=2, head_dim=32, ffn=224, vocabulary=128
    )


def _work(method: Method, **chosen: float) -> Work:
    settings, _ = fill_settings(METHODS[method].settings, chosen)
    return Work(row_tokens=_LENGTH, longest_row=_LENGTH, method=method, settings=settings)


def _foretold(work: Work, weight_bytes: int) -> float:
    shape, tokens = _shape(1), _ROWS * (_LENGTH + work.places_before)
    kept = kept_per_token(shape, work, weight_bytes) * tokens
    if work.is_quick:
        kept += tokens * attention_weights(shape, weight_bytes, _LENGTH)
    return kept + kept_per_pass(shape, work, weight_bytes)


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.bfloat16, id="16-bits"),
        pytest.param(torch.float32, id="32-bits", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("method", list(Method))
def test_what_a_layer_keeps(method: Method, dtype: torch.dtype) -> None:
    work = _work(method)
    one, three = (
        Worn(_shape(layers), method, work.settings, dtype).kept_bytes(_ROWS, _LENGTH)
        for layers in (1, 3)
    )
    assert _foretold(work, dtype.itemsize) == pytest.approx((three - one) / 2, rel=0.05)


@pytest.mark.parametrize("form", [Quantization.FOUR_BIT, Quantization.EIGHT_BIT])
def test_what_a_layer_in_few_bits_keeps(form: Quantization) -> None:
    work = replace(_work(Method.LORA), quantization=form)
    dtype = torch.bfloat16
    one, three = (
        Worn(_shape(layers), Method.LORA, work.settings, dtype, form).kept_bytes(_ROWS, _LENGTH)
        for layers in (1, 3)
    )
    assert _foretold(work, dtype.itemsize) == pytest.approx((three - one) / 2, rel=0.05)


@pytest.mark.parametrize("method", list(Method))
def test_what_a_method_trains(method: Method) -> None:
    work = _work(method)
    worn = Worn(_shape(2), method, work.settings, torch.float32)
    assert trained_numbers(_shape(2), method, work.settings) == pytest.approx(
        worn.trained, rel=0.005
    )
