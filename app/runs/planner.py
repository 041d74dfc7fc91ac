"""Fits or not, how much memory, how long: said before a training starts, by arithmetic alone.

Plain data in, plain data out: a base model's measures, a recipe's work, a device's constants. What
the formulas cannot know (which of a layer's numbers the libraries keep, how fast a machine is) is
measured by a short trial on the machine itself; see device_constants.py.

Memory is the most that is held at once. It is the process itself, the weights, what is trained with
its gradients and its optimizer's two moments, and the larger of two moments: in the backward pass
all layers' kept numbers and the gradients that run through one of them; at a checkpoint the copies
that are written. Unlike kept numbers, scores of the whole vocabulary exist for a few answer tokens
at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.device_constants import DeviceConstants
from app.runs.methods import METHODS, Method, Quantization
from app.workers.device import DeviceFacts, DeviceKind

_POSITIONS_AT_ONCE: Final = 1024
_BILLION: Final = 1e9
_ORDINARY_RANK: Final = 16
# A weight, its gradient, the optimizer's two moments; and what a checkpoint writes, twice for a
# moment: the tensors' bytes and the file made of them.
_TRAINED_BYTES: Final = 16
_CHECKPOINT_BYTES: Final = 24
_SCORE_BYTES: Final = 8
# The backward pass holds the gradients of one layer's widest numbers, some of them twice.
_RUNNING_NUMBERS: Final = 3
_QUANTIZED_BYTES: Final = {Quantization.EIGHT_BIT: 1.05, Quantization.FOUR_BIT: 0.56}
# A device lends no program all that it has.
_USABLE_SHARE: Final = 0.92
# 4 operations per weight and token with frozen weights; 6 where these have gradients too.
_FULL_OPERATIONS: Final = 1.5


class Cost(StrEnum):
    """What a training's memory goes to."""

    PROCESS = "process"
    WEIGHTS = "weights"
    TRAINED = "trained"
    ACTIVATIONS = "activations"
    SCORES = "scores"
    CHECKPOINT = "checkpoint"


COST_WORDS: Final = {
    Cost.PROCESS: "The program itself",
    Cost.WEIGHTS: "The base model",
    Cost.TRAINED: "What learns, with its optimizer",
    Cost.ACTIVATIONS: "What is kept of the text while it learns (activations)",
    Cost.SCORES: "Scores of all words, for a few places at a time",
    Cost.CHECKPOINT: "Copies while the state is saved",
}


@dataclass(frozen=True)
class Work:
    """What a training has to do, in numbers.

    Attributes:
        method: how it learns; its own settings stand in `settings`.
        row_tokens: tokens of one example, on average.
        longest_row: tokens of the longest.
        examples: that are learned from, in each pass.
        epochs: passes over them.
        answer_share: the share of the tokens that are answers.
        held_out: examples that are asked at each evaluation.
        answer_tokens: written at each evaluation, for the answers that are shown.
    """

    row_tokens: float
    longest_row: int
    examples: int = 1
    epochs: int = 1
    examples_per_update: int = 8
    tokens_per_micro_batch: int = 4096
    method: Method = Method.LORA
    settings: Mapping[str, Any] = field(default_factory=dict)
    quantization: Quantization = Quantization.NONE
    is_full: bool = False
    answer_share: float = 0.6
    held_out: int = 0
    evaluations: int = 0
    answer_tokens: int = 0

    @property
    def updates(self) -> int:
        return self.epochs * -(-self.examples // self.examples_per_update)

    @property
    def most_at_once(self) -> int:
        """Tokens of the largest micro-batch: the longest rows stand together."""
        return max(
            self.longest_row,
            min(self.tokens_per_micro_batch, self.examples_per_update * self.longest_row),
        )

    @property
    def rank(self) -> int:
        return int(self.settings.get("rank", 0) or 0)


@dataclass(frozen=True)
class MemoryPlan:
    """The most memory that is held at once, in bytes, part by part."""

    parts: Mapping[Cost, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Plan:
    """What one training would take on one device.

    Attributes:
        memory: at its peak, with the settings as they are.
        least_memory: the same with one row at a time, activations calculated twice; to this the
            training falls back by itself where memory is short.
        four_bit_memory: the least memory with the base model in 4 bits, on devices that can.
        full_memory: what training all of the base model's own weights would take.
        seconds: from the start of its process to its end.
        full_seconds: what training all of the base model's weights would take.
        available: bytes of the device that a training can count on; None where nobody says.
        is_measured: whether the device's constants come from a trial on it.
    """

    memory: MemoryPlan
    least_memory: MemoryPlan
    four_bit_memory: MemoryPlan | None
    full_memory: MemoryPlan
    seconds: float
    full_seconds: float
    available: float | None
    is_measured: bool

    @property
    def fits(self) -> bool:
        return self.available is None or self.memory.total <= self.available

    @property
    def fits_in_small_steps(self) -> bool:
        return self.available is None or self.least_memory.total <= self.available


def plan(shape: TransformerShape, work: Work, device: DeviceFacts | None = None) -> Plan:
    """Say what a training would take on a device.

    Args:
        shape: the base model's measures.
        work: what is to be done.
        device: one that a worker announced; None for the ordinary machine of the defaults.
    """
    constants = DeviceConstants.of(device)
    full, small = _all_of_it(work), _in_small_steps(work)
    in_four_bits = None
    if device is not None and device.kind == DeviceKind.CUDA and _may_be_quantized(work):
        few = replace(small, quantization=Quantization.FOUR_BIT)
        in_four_bits = peak_memory(shape, few, constants, recompute=True)
    return Plan(
        memory=peak_memory(shape, work, constants),
        least_memory=peak_memory(shape, small, constants, recompute=True),
        four_bit_memory=in_four_bits,
        full_memory=peak_memory(shape, full, constants),
        seconds=training_seconds(shape, work, constants),
        full_seconds=training_seconds(shape, full, constants),
        available=usable_bytes(device),
        is_measured=constants.is_measured,
    )


def usable_bytes(device: DeviceFacts | None) -> float | None:
    """Return what a training can count on: of a card its own memory, else the machine's."""
    if device is None:
        return None
    memory = device.memory_bytes if device.kind == DeviceKind.CUDA else device.ram_bytes
    memory = memory or device.memory_bytes
    return None if memory is None else memory * _USABLE_SHARE


def peak_memory(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    *,
    recompute: bool = False,
) -> MemoryPlan:
    """Return the most memory that a training holds at once, part by part."""
    tokens = work.most_at_once
    trained = trained_numbers(shape, work)
    scores = (
        _SCORE_BYTES
        * shape.vocabulary
        * min(_POSITIONS_AT_ONCE, max(1.0, tokens * work.answer_share))
    )
    per_layer = kept_per_token(shape, work, constants) * tokens
    running = 4.0 * _RUNNING_NUMBERS * max(shape.ffn, shape.query_width) * tokens
    kept = shape.layers * per_layer
    if recompute:
        # Each layer keeps what goes into it; one at a time is calculated once more.
        kept = constants.weight_bytes * shape.hidden * tokens * shape.layers + per_layer
    beside = constants.heap_factor * kept + running
    # Scores are gone before the backward pass begins, which takes their room.
    scores_on_top = max(0.0, scores - running)
    copies = max(0.0, _CHECKPOINT_BYTES * trained - beside)
    return MemoryPlan(
        {
            Cost.PROCESS: constants.process_bytes + constants.margin_bytes,
            Cost.WEIGHTS: weights_bytes(shape, work, constants),
            Cost.TRAINED: trained * (_TRAINED_BYTES - (4 if work.is_full else 0)),
            Cost.ACTIVATIONS: beside,
            Cost.SCORES: scores_on_top,
            Cost.CHECKPOINT: copies,
        }
    )


def weights_bytes(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return what the base model's own numbers take."""
    if work.is_full:
        return 4.0 * shape.size
    few_bits = _QUANTIZED_BYTES.get(work.quantization)
    if few_bits is None:
        return float(constants.weight_bytes * shape.size)
    # Tables of embeddings and the head stay as they are.
    matrices = min(shape.size, shape.layers * shape.layer_weights)
    return few_bits * matrices + constants.weight_bytes * (shape.size - matrices)


def trained_numbers(shape: TransformerShape, work: Work) -> float:
    """Return how many numbers are trained."""
    if work.is_full:
        return float(shape.size)
    spec = METHODS[work.method]
    if spec.size_setting == "rank" and work.rank:
        low_rank = work.rank * sum(map(sum, shape.layer_matrices)) * shape.layers
        lora = METHODS[Method.LORA].share_per_unit
        return low_rank * spec.share_per_unit / lora
    return spec.trained_share(work.settings) * shape.size


def kept_per_token(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return the bytes that one layer keeps of one token for the backward pass."""
    kept = constants.kept
    return (
        kept.hidden * shape.hidden
        + kept.query * shape.query_width
        + kept.key * shape.key_width
        + kept.ffn * shape.ffn
        + kept.rank * (0 if work.is_full else work.rank or _ORDINARY_RANK)
    )


def training_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return how long a training takes, from the start of its process to its end."""
    rows_at_once = max(1.0, work.tokens_per_micro_batch / max(work.row_tokens, 1.0))
    rows_at_once = min(rows_at_once, work.examples_per_update)
    tokens = work.examples * work.row_tokens
    learning = work.epochs * passes_seconds(
        shape, work, constants, tokens, passes=work.examples / rows_at_once
    )
    asking = constants.forward_share * passes_seconds(
        shape, work, constants, work.held_out * work.row_tokens, passes=work.held_out / rows_at_once
    )
    answering = work.answer_tokens * shape.layers * constants.answer_layer_seconds
    # Once more before anything was learned, by the base model.
    asked = work.evaluations + 1 if work.held_out else 0
    return (
        constants.start_seconds
        + learning
        + work.updates * constants.step_seconds
        + asked * (asking + answering)
    )


def passes_seconds(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    tokens: float,
    passes: float,
) -> float:
    """Return how long forward and backward passes over so many tokens take."""
    seconds = constants.passes
    weights = shape.layers * shape.layer_weights * (_FULL_OPERATIONS if work.is_full else 1.0)
    adapter = 0.0 if work.is_full else 1.5 * trained_numbers(shape, work)
    numbers = shape.layers * (shape.hidden + shape.query_width + shape.key_width + shape.ffn)
    return (
        seconds.layer * shape.layers * passes
        + seconds.operations * 4.0 * (weights + adapter) * tokens / _BILLION
        + seconds.numbers * numbers * tokens / _BILLION
        + seconds.attention * shape.layers * shape.query_width * tokens * work.row_tokens / _BILLION
        + seconds.head
        * 4.0
        * shape.vocabulary
        * shape.hidden
        * tokens
        * work.answer_share
        / _BILLION
    )


def _all_of_it(work: Work) -> Work:
    return replace(work, is_full=True, quantization=Quantization.NONE)


def _in_small_steps(work: Work) -> Work:
    return replace(work, tokens_per_micro_batch=max(work.longest_row, 64))


def _may_be_quantized(work: Work) -> bool:
    return Quantization.FOUR_BIT in METHODS[work.method].quantizations
