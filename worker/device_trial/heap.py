"""What a process takes from the machine for what a training keeps."""

from typing import Final, NamedTuple

from app.runs.costs.memory import kept_bytes, running_bytes
from app.runs.device_constants import DeviceConstants
from app.runs.methods import Method
from worker.device_memory import resident_bytes
from worker.device_trial.probes import Built, Probe
from worker.device_trial.speed import solve

_SMALLEST: Final = Probe(64, 2, 2, 128, 1, 4, 32)
_HEAPS: Final = (
    Probe(384, 12, 4, 1024, 3, 8, 80),
    Probe(384, 12, 4, 1024, 4, 8, 160),
    Probe(512, 16, 16, 1408, 5, 8, 240),
)
# Passes differ in length, and what was freed by one does not fit the next.
_LENGTHS: Final = (1.0, 0.8, 0.95, 0.7, 1.0, 0.85, 0.9, 0.75, 1.0, 0.65)


class HeapCosts(NamedTuple):
    """What comes on top of what is kept.

    Attributes:
        factor: bytes that the process takes for each byte that is kept.
        margin_bytes: that it takes whatever is kept.
    """

    factor: float
    margin_bytes: float


def warmed_up_bytes(weight_bytes: int) -> float:
    """Return what a training process holds that has loaded and used all that it needs."""
    from worker.training import loop  # noqa: F401 (what it imports is what a training imports)

    Built(_SMALLEST, weight_bytes).go_through(2, 16)
    return float(resident_bytes())


def heap_costs(weight_bytes: int, method: Method) -> HeapCosts:
    """Train models of a few sizes, and see how what the process takes grows with what is kept."""
    usual = DeviceConstants.of(None).model_copy(update={"weight_bytes": weight_bytes})
    rows, taken = [], []
    for probe in _HEAPS:
        work = probe.work(method)
        rows.append([kept_bytes(probe.shape, work, usual), 1.0])
        taken.append(_taken_bytes(probe, weight_bytes, method) - running_bytes(probe.shape, work))
    factor, margin = solve(rows, taken)
    return HeapCosts(max(1.0, factor), margin)


def _taken_bytes(probe: Probe, weight_bytes: int, method: Method) -> int:
    """Return by how much the process grows while a model learns from rows of many lengths."""
    built = Built(probe, weight_bytes, method)
    begin, most = resident_bytes(), 0
    for part in _LENGTHS:
        built.go_through(probe.rows, int(probe.length * part))
        most = max(most, resident_bytes())
    return most - begin
