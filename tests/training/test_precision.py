"""The arithmetic of a run is found out once and then kept."""

import json
from pathlib import Path

import pytest
import torch

from worker.training.precision import remembered_dtype

_CPU = torch.device("cpu")


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


@pytest.mark.parametrize("content", ["", "[1", '["a"]', "null"])
def test_a_damaged_notebook_is_written_anew(tmp_path: Path, content: str) -> None:
    notebook = tmp_path / "number-formats.json"
    notebook.write_text(content)
    chosen = remembered_dtype(_CPU, notebook)
    assert list(json.loads(notebook.read_text()).values()) == [str(chosen)]
