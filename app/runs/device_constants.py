"""What a device's memory and speed follow from: measured there by a short trial, or assumed.

A trial (worker/device_trial) writes these numbers where its worker reads them; they come with the
worker's announcement. A machine without a trial is judged by the defaults below: measured on two
cores of an AMD EPYC with avx512_bf16 on 2026-11-25, and scaled to the number of cores. For graphics
cards, of which none could be measured, they are modest guesses, and say so.
"""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.runs.costs.tiles import WORDS_AT_ONCE, WORDS_AT_ONCE_ON_A_CARD
from app.workers.device import DeviceFacts, DeviceKind

MEASURED_KEY: Final = "planner"
TRIAL_VERSION: Final = 5

_MEBIBYTE: Final = 1024**2
_DEFAULT_CORES: Final = 2


class PassSeconds(BaseModel):
    """What a forward and backward pass takes, part by part; all of it adds up."""

    model_config = ConfigDict(frozen=True)

    layer: float = Field(ge=0.0)
    """A layer, however few tokens go through it."""
    operations: float = Field(ge=0.0)
    """A thousand million operations of the layers' matrix products."""
    numbers: float = Field(ge=0.0)
    """A thousand million numbers that the layers keep, written and read."""
    attention: float = Field(ge=0.0)
    """A thousand million of tokens times length of their row times width of the queries."""
    head: float = Field(ge=0.0)
    """A thousand million operations of the head, 4 per weight and answer token."""


class DeviceConstants(BaseModel):
    """All of a device that the planner calculates with.

    Attributes:
        weight_bytes: of one frozen number, in the format that suits the device.
        process_bytes: what a training process holds before it loads a model.
        heap_factor: what the process takes from the machine for each byte that it keeps; memory
            that is freed comes back in pieces, of which not all fit again. It belongs to the
            allocator and not to the machine: docs/benchmarks.md says on what it was fitted.
        margin_bytes: what comes on top, whatever the model: buffers of the libraries.
        plain_heap_factor: the same of the model's own way; some methods need a multiple of it.
        plain_margin_bytes: the same of it.
        threads: of the processor; on the quick way rows go through the model in lanes of them.
        keeps_attention_weights: whether the quick way keeps a weight for each pair of tokens.
        words_at_once: of the vocabulary, whose scores are there at the same time.
        passes: of Tailor's quick way through a model.
        plain_passes: of the model's own way.
        wide_operations: a thousand million operations of products in 32 bits.
        written: a thousand million numbers in 32 bits, read and written once.
        fresh_byte_seconds: a byte of memory that the process never had before.
        saved_byte_seconds: a byte of a checkpoint, from memory to the disk.
        start_seconds: from the start of the process to its first step, but for reading the weights.
        step_seconds: what an update takes besides its passes.
        forward_share: what a pass without learning takes of one with it.
        answer_layer_seconds: one layer, however narrow, for one token of a few answers that are
            written together. No trial measures it.
        is_measured: whether a trial found them on this very device.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = TRIAL_VERSION
    weight_bytes: int = Field(ge=1, le=8)
    process_bytes: float = Field(gt=0.0)
    heap_factor: float = Field(ge=1.0)
    margin_bytes: float = Field(ge=0.0)
    plain_heap_factor: float = Field(ge=1.0)
    plain_margin_bytes: float = Field(ge=0.0)
    threads: int = Field(default=1, ge=1)
    keeps_attention_weights: bool = True
    words_at_once: int = Field(default=WORDS_AT_ONCE, ge=1)
    passes: PassSeconds
    plain_passes: PassSeconds
    wide_operations: float = Field(ge=0.0)
    written: float = Field(ge=0.0)
    fresh_byte_seconds: float = Field(ge=0.0)
    saved_byte_seconds: float = Field(ge=0.0)
    start_seconds: float = Field(ge=0.0)
    step_seconds: float = Field(ge=0.0)
    forward_share: float = Field(default=0.4, gt=0.0)
    answer_layer_seconds: float = Field(ge=0.0)
    libraries: dict[str, str] = Field(default_factory=dict)
    is_measured: bool = False

    @classmethod
    def of(cls, device: DeviceFacts | None) -> Self:
        """Return what was measured on a device, or else what is assumed of its kind."""
        if device is None:
            return cls.model_validate(_processor(_DEFAULT_CORES))
        try:
            measured = cls.model_validate(device.measured[MEASURED_KEY])
        except (KeyError, ValidationError):
            is_card = device.kind == DeviceKind.CUDA
            return cls.model_validate(_CARD if is_card else _processor(device.cores))
        return measured.model_copy(update={"is_measured": True})


def _processor(cores: int) -> dict[str, Any]:
    slower = _DEFAULT_CORES / max(1, cores)
    quick = {
        "layer": 0.0015,
        "operations": 0.006 * slower,
        "numbers": 1.5 * slower,
        "attention": 0.03 * slower,
        "head": 0.008 * slower,
    }
    return {
        "weight_bytes": 4,
        "process_bytes": 440 * _MEBIBYTE,
        "heap_factor": 1.16,
        "margin_bytes": 70 * _MEBIBYTE,
        "plain_heap_factor": 1.2,
        "plain_margin_bytes": 30 * _MEBIBYTE,
        "threads": max(1, cores),
        "passes": quick,
        "plain_passes": quick | {"numbers": 3.0 * slower},
        "wide_operations": 0.006 * slower,
        "written": 1.0,
        "fresh_byte_seconds": 3e-10,
        "saved_byte_seconds": 3e-9,
        "start_seconds": 8.0,
        "step_seconds": 0.02,
        "answer_layer_seconds": 0.0012,
    }


_CARD_PASSES: Final = {
    "layer": 0.0015,
    "operations": 1.0 / 12_000,
    "numbers": 0.01,
    "attention": 0.0003,
    "head": 1.0 / 12_000,
}
_CARD: Final[dict[str, Any]] = {
    "weight_bytes": 2,
    "process_bytes": 700 * _MEBIBYTE,
    "heap_factor": 1.15,
    "margin_bytes": 512 * _MEBIBYTE,
    "plain_heap_factor": 1.2,
    "plain_margin_bytes": 512 * _MEBIBYTE,
    # FlashAttention calculates them again.
    "keeps_attention_weights": False,
    "words_at_once": WORDS_AT_ONCE_ON_A_CARD,
    "passes": _CARD_PASSES,
    "plain_passes": _CARD_PASSES | {"layer": 0.003, "numbers": 0.02},
    "wide_operations": 1.0 / 3_000,
    "written": 0.005,
    "fresh_byte_seconds": 0.0,
    "saved_byte_seconds": 3e-9,
    "start_seconds": 10.0,
    "step_seconds": 0.01,
    "answer_layer_seconds": 0.0008,
}
