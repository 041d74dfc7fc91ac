"""How long a training will take, said before it happens. When it starts: queue/forecast.py.

The best guide is what earlier runs on the same base model measured on this machine: how long they
took to learn from a token, those of a similar size first, and how long to answer the held-out
questions once.

Before there are any, the planner's arithmetic stands in (planner.py).
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from app.runs.recipe import USUAL_EVALUATIONS

_LOADING_SECONDS: Final = 8.0
CHARACTERS_PER_TOKEN: Final = 4.0
# So many earlier runs, those most alike in size, are asked.
_ALIKE: Final = 3
_MARKS_PER_EXAMPLE: Final = 12.0


def tokens_of(characters: float, examples: int) -> float:
    """Roughly how many tokens so many characters in so many examples are."""
    return characters / CHARACTERS_PER_TOKEN + _MARKS_PER_EXAMPLE * examples


def expected_seconds(
    tokens: float,
    past_results: Sequence[dict[str, Any]],
    otherwise: float,
    evaluations: int = USUAL_EVALUATIONS,
) -> float:
    """Return how long a run over so many tokens, all passes together, will take.

    Args:
        tokens: tokens of one pass times the passes.
        past_results: results of earlier runs on the same base model, if there were any.
        otherwise: what the planner says, for the first run on a base model.
        evaluations: how often the held-out questions are asked.
    """
    usable = [past for past in past_results if past.get("tokens_seen") and past.get("seconds")]
    if not usable:
        return otherwise
    alike = sorted(usable, key=lambda past: _distance(past["tokens_seen"], tokens))[:_ALIKE]
    learning = tokens * median(map(_seconds_per_token, alike))
    evaluating = evaluations * median(map(_evaluation_seconds, alike))
    return _LOADING_SECONDS + learning + evaluating


def _distance(seen: float, wanted: float) -> float:
    """How far two amounts of data lie apart, in factors."""
    return abs(math.log(max(seen, 1.0) / max(wanted, 1.0)))


def _seconds_per_token(past: dict[str, Any]) -> float:
    learning = float(past["seconds"]) - float(past.get("evaluation_seconds", 0.0))
    return learning / float(past["tokens_seen"])


def _evaluation_seconds(past: dict[str, Any]) -> float:
    return float(past.get("evaluation_seconds", 0.0)) / max(int(past.get("evaluations", 0)), 1)
