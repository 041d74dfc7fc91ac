"""What a training has to do, estimated before its examples are read: from their bytes.

How long that takes is said by the planner (planner.py) and by what earlier runs took
(earlier_runs.py); when it starts, by queue/forecast.py.
"""

import math
from typing import Final

from app.runs.costs.work import Work
from app.runs.objectives import OBJECTIVES, Objective
from app.runs.recipe import FittedSettings, Recipe
from app.runs.repository import Lengths

# Measured on seven sets of English examples (`shared/data` and the samples): a vocabulary of 49,152
# took 3.5 to 4.6 bytes a token, one of 3,072 took 1.9 to 3.6. Between them the bytes follow a power
# of the bits that name a token. More than four are promised to nobody: other languages take less.
_MOST_BYTES_PER_TOKEN: Final = 4.0
_KNOWN_VOCABULARY: Final = 49_152
_VOCABULARY_EXPONENT: Final = 1.35
_MARKS_PER_EXAMPLE: Final = 12.0
# Three are written side by side at each evaluation; most of them are shorter than the longest.
_SHOWN_ANSWER_TOKENS: Final = 100


def bytes_per_token(vocabulary: int) -> float:
    """Roughly how many bytes of text a token stands for, with so many different tokens."""
    bits = math.log(max(2, vocabulary)) / math.log(_KNOWN_VOCABULARY)
    return min(_MOST_BYTES_PER_TOKEN, _MOST_BYTES_PER_TOKEN * math.pow(bits, _VOCABULARY_EXPONENT))


def tokens_of(text_bytes: float, examples: int, vocabulary: int) -> float:
    """Roughly how many tokens so many bytes of text in so many examples are."""
    return text_bytes / bytes_per_token(vocabulary) + _MARKS_PER_EXAMPLE * examples


def work_of(
    recipe: Recipe | FittedSettings,
    objective: Objective,
    lengths: Lengths,
    train_count: int,
    held_out: int,
    vocabulary: int = _KNOWN_VOCABULARY,
) -> Work:
    """Turn a recipe and the examples' lengths into what is to be done.

    Args:
        recipe: what is chosen.
        objective: what is learned.
        lengths: of the examples, in bytes.
        train_count: examples to learn from.
        held_out: examples that are not learned from.
        vocabulary: how many different tokens the base model knows.
    """
    limit = recipe.max_tokens_per_example
    # Of sorting, only the last place of a text is told, and not in words.
    tells_words = not OBJECTIVES[objective].sorts
    return Work(
        row_tokens=min(tokens_of(lengths.average, 1, vocabulary), limit),
        longest_row=round(min(tokens_of(lengths.longest, 1, vocabulary), limit)),
        examples=train_count,
        epochs=recipe.epochs,
        examples_per_update=recipe.examples_per_update,
        tokens_per_micro_batch=getattr(
            recipe,
            "tokens_per_micro_batch",
            Recipe.model_fields["tokens_per_micro_batch"].default,
        ),
        method=recipe.method,
        settings=recipe.method_settings,
        quantization=recipe.quantization,
        objective=objective,
        answer_share=lengths.answer_share if tells_words else 0.0,
        held_out=held_out,
        evaluations=recipe.evaluations,
        answer_tokens=_SHOWN_ANSWER_TOKENS if tells_words else 0,
        may_fall_to_four_bits=recipe.may_fall_to_four_bits,
    )
