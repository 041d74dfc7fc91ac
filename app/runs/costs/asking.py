"""How long a training lets the model write, and so what the planner counts for it.

Answers are written side by side, word by word, and are cut off where a slow model would take too
long: what is learned does not depend on them. For each word all weights are read from memory, which
takes most of the time in large models; in small ones a layer takes some for being called at all.
How long the reading takes is guessed from how long it takes to write; earlier runs correct that.
"""

from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.kept import number_bytes
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants

SHOWN_QUESTIONS: Final = 3
"""Held-out questions whose answers each evaluation shows."""
SHOWN_SECONDS: Final = 30.0
"""For the answers of each evaluation."""
RECALL_QUESTIONS: Final = 10
"""Training questions that are asked again at the end."""
RECALL_TOKENS: Final = 48
"""Of the answer to each of them."""
RECALL_SECONDS: Final = 8.0
"""For all of these, by each of the two models."""

_BILLION: Final = 1e9
# What `DeviceConstants.written` stands for: 4 bytes that are read, and 4 that are written.
_BYTES_OF_A_WRITTEN_NUMBER: Final = 8


def shown_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return how long the answers take that are shown at one evaluation."""
    answering = _answering_seconds(shape, work, constants, SHOWN_QUESTIONS, work.answer_tokens)
    return min(SHOWN_SECONDS, answering)


def recall_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return how long it takes to ask both models a few training questions at the end."""
    if not work.answer_tokens:
        return 0.0
    answering = _answering_seconds(shape, work, constants, RECALL_QUESTIONS, RECALL_TOKENS)
    return 2 * min(RECALL_SECONDS, answering)


def _answering_seconds(
    shape: TransformerShape, work: Work, constants: DeviceConstants, questions: int, words: int
) -> float:
    """Return how long it takes to read some questions and to write as many answers."""
    weights = shape.layers * shape.layer_weights
    calculated = 2.0 * weights * constants.passes.operations / _BILLION
    asked = questions * work.row_tokens * (1.0 - work.answer_share)
    # Where little is calculated, the machine waits for the next layer to be called.
    called = shape.layers * constants.answer_layer_seconds
    word = max(called, _fetching_seconds(shape, work, constants) + questions * calculated)
    return asked * calculated + words * word


def _fetching_seconds(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return how long it takes to read all weights from memory once, the head's too."""
    numbers = shape.layers * shape.layer_weights + shape.vocabulary * shape.hidden
    size = number_bytes(work, constants.weight_bytes) / _BYTES_OF_A_WRITTEN_NUMBER
    return constants.written * size * numbers / _BILLION
