"""A loaded model holds its weights itself: what happens to the file is nothing to it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from worker.device_memory import give_back_pieces
from worker.own_weights import hold_weights

_LAYERS = 8
_SIDE = 2048
_BYTES = _LAYERS * _SIDE * _SIDE * 4


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_file(
        {str(layer): torch.full((_SIDE, _SIDE), layer + 1.0) for layer in range(_LAYERS)}, file
    )
    return file


def loaded_from(file: Path) -> torch.nn.Module:
    """Return a model whose weights are views of a file, as transformers makes one."""
    model = torch.nn.Module()
    with safe_open(file, framework="pt") as content:
        for name in content.keys():  # noqa: SIM118 (it is no mapping)
            weight = content.get_slice(name)[...]
            model.register_parameter(name, torch.nn.Parameter(weight, requires_grad=False))
    return model


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def overwritten(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(b"\xff" * (file.stat().st_size // 2))


def cut_short(file: Path) -> None:
    os.truncate(file, 4096)


@pytest.mark.parametrize("happens", [overwritten, cut_short])
def test_what_happens_to_the_file_changes_no_weight(
    happens: Callable[[Path], None], weights_file: Path
) -> None:
    model = loaded_from(weights_file)
    hold_weights(model)
    happens(weights_file)
    for layer in range(_LAYERS):
        assert torch.all(model.get_parameter(str(layer)) == layer + 1.0)


def test_they_are_not_held_twice(weights_file: Path) -> None:
    model = loaded_from(weights_file)
    # Else the copies would go where earlier tests left room.
    give_back_pieces()
    forget_peak()
    before = peak_bytes()
    hold_weights(model)
    assert peak_bytes() - before < _BYTES * (1 + 2 / _LAYERS)


def test_what_is_no_view_of_a_file_stays_where_it_is() -> None:
    model = torch.nn.Linear(8, 8)
    place = model.weight.data_ptr()
    hold_weights(model)
    assert model.weight.data_ptr() == place
