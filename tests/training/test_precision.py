"""The arithmetic of a run is found out once and then kept."""

import json
from pathlib import Path

import pytest
import torch

from worker.inference.loaded_model import pick_dtype
from worker.training.arithmetic import ARITHMETIC
from worker.training.precision import Numbers, choose_device, libraries, remembered_dtype

_CPU, _CARD = torch.device("cpu"), torch.device("cuda")


def test_a_machine_chooses_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = tmp_path / "number-formats.json"
    first = remembered_dtype(_CPU, notebook)
    other = torch.float32 if first == torch.bfloat16 else torch.bfloat16
    # A busy moment would make it choose otherwise now.
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: other)
    assert remembered_dtype(_CPU, notebook) == first
    monkeypatch.setattr("platform.node", lambda: "another-machine")
    assert remembered_dtype(_CPU, notebook) == other
    assert len(json.loads(notebook.read_text())) == 2


@pytest.mark.parametrize(
    ("has_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float32)]
)
def test_a_card_that_would_only_imitate_bfloat16_calculates_in_float32(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: torch.dtype,
    *,
    has_bfloat16: bool,
) -> None:
    def is_supported(*, including_emulation: bool = True) -> bool:
        return including_emulation or has_bfloat16

    monkeypatch.setattr("torch.cuda.is_bf16_supported", is_supported)
    notebook = tmp_path / "number-formats.json"
    assert remembered_dtype(_CARD, notebook) == expected
    assert pick_dtype(8_000_000_000, _CARD) == expected
    assert not notebook.exists(), "another card of the machine may answer otherwise"


def test_a_library_that_was_removed_since_is_a_difference() -> None:
    begun_with = libraries() | {"once-installed": "1.2"}
    numbers = Numbers(choose_device(), torch.float32, 1, begun_with)
    assert numbers.difference_here() == "once-installed was 1.2 and is missing now"


def test_what_another_tailor_began_is_a_difference() -> None:
    here = Numbers(choose_device(), torch.float32, 1, libraries())
    assert not Numbers.from_json(here.as_json()).difference_here()
    older = {name: value for name, value in here.as_json().items() if name != "arithmetic"}
    said = Numbers.from_json(older).difference_here()
    assert said == f"Tailor's arithmetic was 0 and is {ARITHMETIC} now"


@pytest.mark.parametrize("content", ["", "[1", '["a"]', "null"])
def test_a_damaged_notebook_is_written_anew(tmp_path: Path, content: str) -> None:
    notebook = tmp_path / "number-formats.json"
    notebook.write_text(content)
    chosen = remembered_dtype(_CPU, notebook)
    assert list(json.loads(notebook.read_text()).values()) == [str(chosen)]
