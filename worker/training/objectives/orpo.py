"""Odds ratio preference optimisation (Hong et al., 2024): no base model to be measured against."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from worker.training.objectives.preferences import Pairs, PairScores
from worker.training.tokens import TokenTable


class Orpo(Pairs):
    """The better answer is learned, and its odds are raised above those of the worse one."""

    def reference_of(self, table: TokenTable, items: Sequence[int]) -> torch.Tensor:  # noqa: ARG002 (none)
        return torch.empty(len(items), 0)

    def losses(self, scores: PairScores, reference: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return orpo_losses(
            scores.chosen / scores.chosen_tokens,
            scores.rejected / scores.rejected_tokens,
            odds_weight=float(self.recipe.objective_settings["odds_weight"]),
        )


def orpo_losses(
    chosen: torch.Tensor, rejected: torch.Tensor, *, odds_weight: float
) -> torch.Tensor:
    """Return the loss of each pair, equations 6 and 7 of the paper.

    Args:
        chosen: mean log-probability over the tokens of the better answer, (pairs,).
        rejected: the same of the worse one.
        odds_weight: lambda, how much the odds count beside learning the better answer.
    """
    log_odds = (chosen - rejected) - (_log_of_rest(chosen) - _log_of_rest(rejected))
    return -chosen - odds_weight * functional.logsigmoid(log_odds)


def _log_of_rest(log_probability: torch.Tensor) -> torch.Tensor:
    """Return log(1 - p), exact where p is near 1 or near 0 (Mächler, 2012)."""
    # At p = 1 nothing is left and its logarithm has no slope.
    log_probability = log_probability.clamp(max=-1e-7)
    near_one = torch.log(-torch.expm1(log_probability))
    near_zero = torch.log1p(-torch.exp(log_probability))
    return torch.where(log_probability > -0.6931, near_one, near_zero)
