"""The base model in one number format, whichever is faster on this machine."""

import pytest
import torch

_CHOICE = "worker.training.precision.choose_dtype"


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 32 bits two ways to the same answer differ by little."""
    monkeypatch.setattr(_CHOICE, lambda _: torch.float32)


@pytest.fixture
def in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 16 bits, as on most machines with which people train."""
    monkeypatch.setattr(_CHOICE, lambda _: torch.bfloat16)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def number_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Each format that the loop may choose."""
    dtype: torch.dtype = request.param
    monkeypatch.setattr(_CHOICE, lambda _: dtype)
    return dtype
