"""The most memory that a training holds at once, part by part.

It is the process itself, the weights, what is trained with its gradients and its optimizer's two
moments, and the largest of three moments: in the backward pass all layers' kept numbers and the
gradients that run through one of them; before it, the scores of the vocabulary; at a checkpoint
the copies that are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.kept import (
    attention_weights,
    kept_per_pass,
    kept_per_token,
    number_bytes,
)
from app.runs.costs.tiles import ANSWERS_AT_ONCE
from app.runs.costs.trained import fixed_numbers, trained_numbers
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants
from app.runs.methods import Method, Quantization

# A weight, its gradient, the optimizer's two moments; and what a checkpoint writes, twice for a
# moment: the tensors' bytes and the file made of them.
_TRAINED_BYTES: Final = 16
_GRADIENT_BYTES: Final = 4
_CHECKPOINT_BYTES: Final = 28
# As they come, in 32 bits, and their exponentials as they came.
_SCORE_BYTES: Final = 8
# Where the head itself learns, the scores of all answers are there at once: as they come, as
# logarithms, and the slopes of both.
_LEARNED_SCORE_BYTES: Final = 16
# The backward pass holds the gradients of one layer's widest numbers, some of them twice.
_RUNNING_NUMBERS: Final = 3
# Of each weight: its bits, and its share of a block's scale, which is itself held in 8 bits where
# the weight is in 4 (double quantisation, blocks of 64 and 256).
_QUANTIZED_BYTES: Final = {
    Quantization.EIGHT_BIT: 1.0 + 4 / 1024,
    Quantization.FOUR_BIT: 0.5 + 1 / 64 + 4 / (64 * 256),
}


# Blocks that are made and let go between those that are kept leave gaps, in which not all that
# comes later fits: the more, the more a method copies, turns or builds whole matrices. Kept bytes
# themselves are known to a hundredth; these were fitted on real trainings (docs/benchmarks.md).
_CHURN: Final = {
    Method.DORA: 1.2,
    Method.BOFT: 1.1,
    Method.OFT: 1.4,
    Method.LOHA: 1.4,
    Method.FULL: 1.5,
}


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
    Cost.SCORES: "Scores of words, for a part of them at a time",
    Cost.CHECKPOINT: "Copies while the state is saved",
}


@dataclass(frozen=True)
class MemoryPlan:
    """The most memory that is held at once, in bytes, part by part."""

    parts: Mapping[Cost, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def peak_memory(
    shape: TransformerShape,
    work: Work,
    constants: DeviceConstants,
    *,
    recompute: bool = False,
) -> MemoryPlan:
    """Return the most memory that a training holds at once, part by part."""
    trained = trained_numbers(shape, work.method, work.settings)
    kept = kept_bytes(shape, work, constants, recompute=recompute)
    running = running_bytes(shape, work)
    factor = heap_factor(work, constants)
    margin = constants.margin_bytes if work.is_quick else constants.plain_margin_bytes
    beside = factor * kept + running
    # Scores are gone before the backward pass begins, which takes their room.
    scores_on_top = max(0.0, _score_bytes(shape, work, constants) - running)
    copies = max(0.0, _CHECKPOINT_BYTES * trained - beside)
    return MemoryPlan(
        {
            Cost.PROCESS: constants.process_bytes + margin,
            Cost.WEIGHTS: weights_bytes(shape, work, constants),
            Cost.TRAINED: trained * (_TRAINED_BYTES - (4 if work.is_full else 0))
            + 4.0 * fixed_numbers(shape, work.method, work.settings),
            Cost.ACTIVATIONS: beside,
            Cost.SCORES: scores_on_top,
            Cost.CHECKPOINT: copies,
        }
    )


def heap_factor(work: Work, constants: DeviceConstants) -> float:
    """Return what the process takes from the machine for each byte that it keeps of a pass."""
    if work.is_quick:
        return constants.heap_factor
    return constants.plain_heap_factor * _CHURN.get(work.method, 1.0)


def kept_bytes(
    shape: TransformerShape, work: Work, constants: DeviceConstants, *, recompute: bool = False
) -> float:
    """Return what all layers keep of the fullest micro-batch for the backward pass."""
    size = number_bytes(work, constants.weight_bytes)
    tokens = work.most_at_once * (1 + work.places_before / max(1, work.longest_row))
    layer = kept_per_token(shape, work, constants.weight_bytes) * tokens
    layer += kept_per_pass(shape, work, constants.weight_bytes)
    if work.is_quick and constants.keeps_attention_weights:
        layer += tokens * attention_weights(shape, size, work.longest_row)
    if recompute:
        # Each layer keeps what goes into it; one at a time is calculated once more.
        return float(size * shape.hidden * tokens * shape.layers + layer)
    return shape.layers * layer


def weights_bytes(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    """Return what the base model's own numbers take."""
    size = number_bytes(work, constants.weight_bytes)
    if work.divided_over > 1:
        layers = shape.layers * shape.layer_weights
        # While one layer calculates, the next is fetched; each is whole for as long.
        here = layers / work.divided_over + 2 * shape.layer_weights
        return size * (max(0.0, shape.size - layers) + here)
    few_bits = _QUANTIZED_BYTES.get(work.quantization)
    if few_bits is None:
        return float(size * shape.size)
    # Tables of embeddings and the head stay as they are.
    matrices = min(shape.size, shape.layers * shape.layer_weights)
    # One matrix at a time is calculated back to the format of the run.
    unpacked = size * max(map(prod, shape.layer_matrices))
    return few_bits * matrices + size * (shape.size - matrices) + unpacked


def running_bytes(shape: TransformerShape, work: Work) -> float:
    return 4.0 * _RUNNING_NUMBERS * max(shape.ffn, shape.query_width) * work.most_at_once


def _score_bytes(shape: TransformerShape, work: Work, constants: DeviceConstants) -> float:
    answers = max(1.0, work.most_at_once * work.answer_share)
    if work.method is Method.FULL:
        return _LEARNED_SCORE_BYTES * shape.vocabulary * answers
    words = min(constants.words_at_once, shape.vocabulary)
    # A product may lay these words' weights out anew.
    head = constants.weight_bytes * words * shape.hidden
    return head + _SCORE_BYTES * words * min(ANSWERS_AT_ONCE, answers)
