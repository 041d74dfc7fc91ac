"""How long a training takes, from the start of its process to its end."""

from dataclasses import dataclass
from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.asking import recall_seconds, shown_seconds
from app.runs.costs.batching import unevenness
from app.runs.costs.efforts import effort
from app.runs.costs.kept import number_bytes
from app.runs.costs.memory import Cost, peak_memory
from app.runs.costs.trained import trained_numbers
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants, PassSeconds

_BILLION: Final = 1e9
# Two for each weight and token forwards, two for what goes in; see efforts.py for a trained weight.
_FROZEN_OPERATIONS: Final = 4.0
_SECONDS_BETWEEN_CHECKPOINTS: Final = 30.0
# A weight and the optimizer's two moments.
_SAVED_BYTES: Final = 12
# Of each trained number: read for the norms, and all four of it read and written for the step.
_NUMBERS_OF_A_STEP: Final = 6.0


@dataclass(frozen=True)
class TrainingTime:
    """How long a training takes, in seconds, part by part; all of it adds up.

    Attributes:
        around: starting, checkpoints, and the training questions that are asked again at the end.
        beforehand: asking the base model before anything is learned.
        learning: all updates.
        evaluating: asking what is held out while it learns, and the answers that are shown.
    """

    around: float
    beforehand: float
    learning: float
    evaluating: float

    @property
    def total(self) -> float:
        return self.around + self.beforehand + self.learning + self.evaluating


def training_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return how long a training takes, from the start of its process to its end."""
    return training_time(shape, work, constants).total


def training_time(shape: TransformerShape, work: Work, constants: DeviceConstants) -> TrainingTime:
    """Return how long each part of a training takes."""
    evaluations = work.evaluations if work.held_out else 0
    held_out = work.held_out * work.rows_per_example
    learning = _learning_seconds(shape, work, constants)
    answering = shown_seconds(shape, work, constants)
    asked_first = held_out if evaluations else 0
    if work.asks_base_first:
        asked_first += work.examples * work.rows_per_example + held_out
    return TrainingTime(
        around=constants.start_seconds
        + recall_seconds(shape, work, constants)
        + _saving_seconds(shape, work, constants, learning),
        beforehand=_asking_seconds(shape, work, constants, asked_first),
        learning=learning,
        # The base model answers as well, once.
        evaluating=evaluations * _asking_seconds(shape, work, constants, held_out)
        + (evaluations + 1 if evaluations else 0) * answering,
    )


def _learning_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    learned = work.examples * (work.rows_per_example if work.learns_from_all_rows else 1)
    tokens = work.epochs * learned * work.row_tokens
    seconds = passes_seconds(shape, work, constants, tokens, work.epochs * work.micro_batches)
    if work.is_quick:
        seconds *= unevenness(min(work.examples, work.examples_per_update), constants.threads)
    if not work.learns_from_all_rows:
        seconds += work.epochs * _asking_seconds(shape, work, constants, work.examples)
    seconds += work.updates * _update_seconds(shape, work, constants)
    return seconds + constants.fresh_byte_seconds * _fresh_bytes(shape, work, constants)


def _update_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return what an update takes besides its passes: norms, and the optimizer's step."""
    numbers = _NUMBERS_OF_A_STEP * trained_numbers(shape, work.method, work.settings)
    return constants.step_seconds + constants.written * numbers / _BILLION


def _fresh_bytes(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return what the process grows by while it learns; the first passes are slower for it."""
    parts = peak_memory(shape, work, constants).parts
    return parts[Cost.TRAINED] + parts[Cost.ACTIVATIONS] + parts[Cost.SCORES]


def passes_seconds(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    tokens: float,
    passes: float,
) -> float:
    """Return how long forward and backward passes over so many tokens take."""
    prices = constants.passes if work.is_quick else constants.plain_passes
    # Virtual tokens are read with every row.
    rows = tokens / max(work.row_tokens, 1.0)
    tokens += rows * work.places_before
    attended = shape.query_width * work.attended_tokens
    return (
        shape.layers * _layers_seconds(shape, work, constants, prices, tokens, passes)
        + prices.attention * shape.layers * attended * tokens / _BILLION
        + _head_seconds(shape, work, constants, prices, tokens)
    )


def _layers_seconds(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    prices: PassSeconds,
    tokens: float,
    passes: float,
) -> float:
    size, more = number_bytes(work, constants.weight_bytes), effort(shape, work)
    is_wide = size > constants.weight_bytes
    narrow_price = constants.wide_operations if is_wide else prices.operations
    numbers = shape.hidden + shape.query_width + shape.key_width + shape.ffn
    operations = (_FROZEN_OPERATIONS * shape.layer_weights + more.narrow) * tokens
    return (
        prices.layer * passes
        + narrow_price * (operations + more.narrow_once * passes) / _BILLION
        + constants.wide_operations * (more.wide * tokens + more.wide_once * passes) / _BILLION
        + prices.numbers * (size / constants.weight_bytes) * numbers * tokens / _BILLION
        + constants.written * (more.numbers * tokens + more.numbers_once * passes) / _BILLION
    )


def _head_seconds(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    prices: PassSeconds,
    tokens: float,
) -> float:
    scores = shape.vocabulary * shape.hidden * tokens * work.answer_share / _BILLION
    if work.is_full:
        return constants.wide_operations * 6.0 * scores
    # Preferences calculate the scores a second time on the way back.
    return prices.head * (6.0 if work.rows_per_example > 1 else 4.0) * scores


def _asking_seconds(
    shape: TransformerShape, work: Work, constants: DeviceConstants, rows: float
) -> float:
    """Return how long rows take that nothing is learned from."""
    share = rows / max(1, work.examples * work.rows_per_example)
    tokens = rows * work.row_tokens
    return constants.forward_share * passes_seconds(
        shape, work, constants, tokens, work.micro_batches * share
    )


def _saving_seconds(
    shape: TransformerShape, work: Work, constants: DeviceConstants, learning: float
) -> float:
    """Return how long checkpoints take: with each evaluation, from time to time, and at the end."""
    trained = trained_numbers(shape, work.method, work.settings)
    checkpoints = 1 + work.evaluations + int(learning / _SECONDS_BETWEEN_CHECKPOINTS)
    return checkpoints * _SAVED_BYTES * trained * constants.saved_byte_seconds
