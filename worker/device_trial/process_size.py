"""What a training process holds before it holds a model."""

from typing import Final

from worker.device_memory import resident_bytes
from worker.device_trial.probes import Built, Probe

_SMALLEST: Final = Probe(64, 2, 2, 128, 1, 4, 32)


def warmed_up_bytes(weight_bytes: int) -> float:
    """Return what a training process holds that has loaded and used all that it needs."""
    from worker.training import loop  # noqa: F401 (what it imports is what a training imports)

    Built(_SMALLEST, weight_bytes).go_through(2, 16)
    return float(resident_bytes())
