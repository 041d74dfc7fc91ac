"""What a worker says about its machine, without torch."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.session import transaction
from app.jobs import LIGHT_QUEUE, RUNS_QUEUE
from app.settings import get_settings
from app.storage.folders import Storage
from app.workers.device import DeviceKind
from app.workers.repository import devices_there, report
from worker import devices
from worker.free_memory import total_ram_bytes

_CARDS = """\
GPU-aaaa-1, NVIDIA A, 81559
GPU-aabb-2, NVIDIA B, 24564
GPU-cccc-3, NVIDIA C, [N/A]
"""


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver lists three cards, and a torch that can use them."""
    program = tmp_path / "nvidia-smi"
    (tmp_path / "cards.csv").write_text(_CARDS)
    program.write_text(f'#!/bin/sh\nexec /bin/cat "{tmp_path}/cards.csv"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0")


@pytest.mark.usefixtures("cards")
class TestCards:
    def test_all_are_named_by_what_cuda_takes(self) -> None:
        kind, found = devices.visible_devices()
        assert kind == DeviceKind.CUDA
        assert [card.id for card in found] == ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]
        assert [card.memory_bytes for card in found] == [81559 * 1024**2, 24564 * 1024**2, None]

    @pytest.mark.parametrize(
        ("named", "visible"),
        [
            ("1", ["GPU-aabb-2"]),
            ("2,0", ["GPU-cccc-3", "GPU-aaaa-1"]),
            ("GPU-aabb", ["GPU-aabb-2"]),
            ("0,7,1", ["GPU-aaaa-1"]),
            ("GPU-aa", []),
            ("-1", []),
            ("", []),
            ("MIG-1f", ["MIG-1f"]),
        ],
    )
    def test_the_environment_says_which_count(
        self, named: str, visible: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        kind, found = devices.visible_devices()
        assert [card.id for card in found] == (visible or ["cpu"])
        assert kind == (DeviceKind.CUDA if visible else DeviceKind.CPU)

    def test_cards_that_torch_cannot_use_do_not_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "version", lambda _: "2.13.0+cpu")
        assert devices.visible_devices()[0] == DeviceKind.CPU


def test_what_is_announced_is_what_others_read(engine: Engine, storage: Storage) -> None:
    devices.measurements_file(storage).write_text(json.dumps({"tokens_per_second": 900.5}))
    said = devices.describe(storage)
    with transaction(engine) as session:
        report(session, "here:1/runs", RUNS_QUEUE, said)
        report(session, "here:2/light", LIGHT_QUEUE)
    with transaction(engine, read_only=True) as session:
        (heard,) = devices_there(session, RUNS_QUEUE)
        assert devices_there(session, LIGHT_QUEUE) == []
    assert heard == said
    assert heard.measured == {"tokens_per_second": 900.5}
    assert heard.kind == DeviceKind.CPU
    assert heard.cores >= 1
    assert heard.memory_bytes is not None
    assert heard.memory_bytes > 2**28
    assert "torch" in heard.libraries


def test_a_damaged_note_of_a_trial_is_passed_over(storage: Storage) -> None:
    devices.measurements_file(storage).write_text("[half")
    assert devices.describe(storage).measured == {}


def test_a_large_processor_is_divided_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TAILOR_PROCESSOR_PARTS", "3")
    get_settings.cache_clear()
    kind, found = devices.visible_devices()
    get_settings.cache_clear()
    assert kind == DeviceKind.CPU
    assert [part.id for part in found] == ["cpu-1", "cpu-2", "cpu-3"]
    assert sum(part.memory_bytes or 0 for part in found) <= total_ram_bytes()
