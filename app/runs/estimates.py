"""How long a training will take, said before it happens. When it starts: queue/forecast.py.

The best guide is what earlier runs on the same base model measured on this machine: how long they
took to learn from a token, those of a similar size first, and how long to answer the held-out
questions once.

Before there are any, a rule stands in: training an adapter costs about 4 operations per parameter
and token (2 forwards, 2 backwards; the frozen weights need no gradients of their own), so the
tokens that a machine learns in a second are its useful operations divided by 4 times the
parameters. A processor core does about 80 thousand million of them, measured at 1,250 tokens a
second with 32 million parameters on 2 cores; for a graphics card a modest 12 million million are
assumed. Each step costs a moment however small the model is. A fifth is added for measuring on the
held-out examples, and a while for loading and for answering the questions that are shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from app.runs.recipe import USUAL_EVALUATIONS

_OPERATIONS_PER_PARAMETER: Final = 4.0
_CORE_OPERATIONS: Final = 8.0e10
_GPU_OPERATIONS: Final = 1.2e13
_MEASURING_SHARE: Final = 1.2
_LOADING_SECONDS: Final = 8.0
_ANSWERING_SECONDS: Final = 7.0
_SECONDS_PER_STEP: Final = 0.04
CHARACTERS_PER_TOKEN: Final = 4.0
# So many earlier runs, those most alike in size, are asked.
_ALIKE: Final = 3
_MARKS_PER_EXAMPLE: Final = 12.0


@dataclass(frozen=True)
class Machine:
    """What trains, as far as it can be known from outside."""

    cores: int
    has_gpu: bool

    @property
    def operations_per_second(self) -> float:
        return _GPU_OPERATIONS if self.has_gpu else _CORE_OPERATIONS * max(1, self.cores)


def tokens_of(characters: float, examples: int) -> float:
    """Roughly how many tokens so many characters in so many examples are."""
    return characters / CHARACTERS_PER_TOKEN + _MARKS_PER_EXAMPLE * examples


def expected_seconds(
    tokens: float,
    base_parameters: int,
    past_results: Sequence[dict[str, Any]],
    machine: Machine,
    steps: int = 0,
) -> float:
    """Return how long a run over so many tokens, all passes together, will take.

    Args:
        tokens: tokens of one pass times the passes.
        base_parameters: parameters of the base model.
        past_results: results of earlier runs on the same base model, if there were any.
        machine: what trains, for the first run on a base model.
        steps: how many updates there will be.
    """
    usable = [past for past in past_results if past.get("tokens_seen") and past.get("seconds")]
    if usable:
        alike = sorted(usable, key=lambda past: _distance(past["tokens_seen"], tokens))[:_ALIKE]
        learning = tokens * median(map(_seconds_per_token, alike))
        evaluating = USUAL_EVALUATIONS * median(map(_evaluation_seconds, alike))
        return _LOADING_SECONDS + learning + evaluating
    operations = tokens * _OPERATIONS_PER_PARAMETER * max(base_parameters, 1_000_000)
    learning = operations / machine.operations_per_second + steps * _SECONDS_PER_STEP
    return _LOADING_SECONDS + _ANSWERING_SECONDS + _MEASURING_SHARE * learning


def _distance(seen: float, wanted: float) -> float:
    """How far two amounts of data lie apart, in factors."""
    return abs(math.log(max(seen, 1.0) / max(wanted, 1.0)))


def _seconds_per_token(past: dict[str, Any]) -> float:
    learning = float(past["seconds"]) - float(past.get("evaluation_seconds", 0.0))
    return learning / float(past["tokens_seen"])


def _evaluation_seconds(past: dict[str, Any]) -> float:
    return float(past.get("evaluation_seconds", 0.0)) / max(int(past.get("evaluations", 0)), 1)
