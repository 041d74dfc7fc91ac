"""Direct preference optimisation (Rafailov et al., 2023), with label smoothing (Mitchell, 2023).

The comparison alone is content with any answer as long as the worse one is less likely still; where
the two are easily told apart it changes nothing that a reader would see. So the better answer is
learned as well, weighed as by Pang et al. (Iterative reasoning preference optimization, 2024).
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from app.runs.objectives import ANSWER_WEIGHT
from worker.training.objectives.objective import Surroundings
from worker.training.objectives.preferences import Pairs, PairScores
from worker.training.objectives.reference import Reference
from worker.training.tokens import TokenTable


class Dpo(Pairs):
    """How much likelier the better answer became than the worse one, against the base model."""

    asks_base_first = True

    def begin(self, around: Surroundings) -> None:
        self._reference = Reference(self, around)

    def reference_of(self, table: TokenTable, items: Sequence[int]) -> torch.Tensor:
        return self._reference.of(table, items)

    def losses(self, scores: PairScores, reference: torch.Tensor) -> torch.Tensor:
        settings = self.recipe.objective_settings
        preferred = dpo_losses(
            scores.chosen - scores.rejected,
            reference[:, 0] - reference[:, 1],
            beta=float(settings["beta"]),
            label_smoothing=float(settings["label_smoothing"]),
        )
        answer_weight = float(settings[ANSWER_WEIGHT])
        return preferred - answer_weight * scores.chosen / scores.chosen_tokens


def dpo_losses(
    margin: torch.Tensor, reference_margin: torch.Tensor, *, beta: float, label_smoothing: float
) -> torch.Tensor:
    """Return the loss of each pair, equation 7 of the paper.

    Args:
        margin: log-probability of the better answer minus that of the worse, (pairs,).
        reference_margin: the same of the base model.
        beta: how closely the model is kept to the base model.
        label_smoothing: the share of pairs that may be the wrong way round.
    """
    scaled = beta * (margin - reference_margin)
    right = -functional.logsigmoid(scaled)
    wrong = -functional.logsigmoid(-scaled)
    return (1 - label_smoothing) * right + label_smoothing * wrong
