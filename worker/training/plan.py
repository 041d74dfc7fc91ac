"""What a run is going to do, step by step: fixed before the first one."""

import math
from dataclasses import dataclass
from typing import Final, Self

from app.runs.recipe import Recipe

_REPORTED_POINTS: Final = 400
_LOWEST_RATE: Final = 0.1


@dataclass(frozen=True)
class TrainingPlan:
    """The steps of a run.

    Attributes:
        steps_per_epoch: updates of one pass over the training examples.
        total_steps: updates of all passes.
        report_every: so many updates make one point of the curve.
        evaluation_steps: after which updates the held-out questions are asked; the last is one.
        peak_rate: the highest learning rate.
        warmup_steps: updates during which the rate rises.
    """

    steps_per_epoch: int
    total_steps: int
    report_every: int
    evaluation_steps: frozenset[int]
    peak_rate: float
    warmup_steps: int

    @classmethod
    def for_rows(cls, recipe: Recipe, train_rows: int, held_out_rows: int) -> Self:
        """Plan a run over so many rows; without held-out rows nothing is evaluated."""
        steps_per_epoch = math.ceil(train_rows / recipe.examples_per_update)
        total = steps_per_epoch * recipe.epochs
        count = min(recipe.evaluations, total) if held_out_rows else 0
        return cls(
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
            report_every=math.ceil(total / _REPORTED_POINTS),
            evaluation_steps=frozenset(
                math.ceil(total * part / count) for part in range(1, count + 1)
            ),
            peak_rate=recipe.learning_rate,
            warmup_steps=round(recipe.warmup_fraction * total),
        )

    def evaluations_after(self, step: int) -> int:
        """Return how many evaluations are still to come once an update is done."""
        return sum(due >= step for due in self.evaluation_steps)

    def learning_rate(self, step: int) -> float:
        """Rise in a straight line, then fall to a tenth along a cosine (Loshchilov, Hutter, 2017).

        Args:
            step: the update that is about to be made, from 1.
        """
        if step <= self.warmup_steps:
            return self.peak_rate * step / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        share = _LOWEST_RATE + (1 - _LOWEST_RATE) * (1 + math.cos(math.pi * done)) / 2
        return self.peak_rate * share
