"""Tiny base models, made once for all tests of this folder."""

from pathlib import Path

import pytest
import torch

from tests.support.number_formats import in_float32, number_format
from tests.support.tiny_models import make_tiny_model

__all__ = ["in_float32", "number_format"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two small layers whose template has generation markers."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "llama")
