"""Tiny base models, made once for all tests of this folder."""

from pathlib import Path

import pytest
import torch

from tests.support.tiny_models import make_tiny_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def number_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Each format that the loop may choose for the base, whichever is faster on this machine."""
    dtype: torch.dtype = request.param
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: dtype)
    return dtype


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two small layers whose template has generation markers."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "llama")
