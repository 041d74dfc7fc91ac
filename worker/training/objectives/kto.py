"""Kahneman-Tversky optimisation (Ethayarajh et al., 2024): a thumb for each answer is enough.

As in dpo.py, and for the same reason, liked answers are learned as well, word by word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from app.runs.objectives import ANSWER_WEIGHT
from worker.training.batches import MicroBatch, lay_out
from worker.training.encoded import Encoder
from worker.training.encoders import ThumbEncoder
from worker.training.measured import Measured
from worker.training.objectives.objective import (
    Objective,
    Surroundings,
    summed_by_row,
)
from worker.training.objectives.reference import Reference
from worker.training.tokens import TokenTable, TokenTables


@dataclass(frozen=True)
class ThumbBatch:
    """Answers with thumbs.

    Attributes:
        rows: questions with their own answers.
        crossed: the same questions with the answers to others.
        is_liked: the thumbs, (answers,).
        reference: what the base model says to both, (answers, 2).
    """

    rows: MicroBatch
    crossed: MicroBatch
    is_liked: torch.Tensor
    reference: torch.Tensor

    @property
    def units(self) -> int:
        return len(self.is_liked)

    @property
    def tokens(self) -> int:
        return self.rows.tokens + self.crossed.tokens


class Kto(Objective):
    """Liked answers become likelier and disliked ones less likely, by diminishing returns.

    What counts is how far an answer moved beyond how far the model moved in general. The latter is
    estimated as published: over all of an update's questions, each with an answer to another one,
    without a gradient, and never below zero.
    """

    asks_base_first = True

    @property
    def encoder(self) -> Encoder:
        return ThumbEncoder(self.chat)

    def begin(self, around: Surroundings) -> None:
        self._reference = Reference(self, around)
        settings = self.recipe.objective_settings
        self._up = float(settings["desirable_weight"])
        self._down = float(settings["undesirable_weight"])
        self._answer_weight = float(settings[ANSWER_WEIGHT])
        if settings["balance"]:
            self._balance(around.tables.train)
        self._drift = torch.zeros((), device=self.device)

    def lay_out(self, table: TokenTable, items: Sequence[int]) -> ThumbBatch:
        own, crossed = (lay_out(table, items, self.filling, self.device, part) for part in (0, 1))
        is_liked = torch.from_numpy(table.notes[list(items)] == 1).to(self.device)
        return ThumbBatch(own, crossed, is_liked, self._reference.of(table, items))

    @torch.no_grad()
    def begin_update(self, batches: Sequence[ThumbBatch], idle: int, lanes: int) -> None:
        """Estimate how far the model has moved from the base model in general."""
        moved = sum(self.lanes.each(batches, self._moved_in_general, lanes))
        self.keep_pace(idle)
        moved, count = self.team.sum(moved, sum(batch.units for batch in batches))
        self._drift = torch.tensor(max(0.0, moved / count), device=self.device)

    def total(self, batch: ThumbBatch, scale: float = 1.0) -> torch.Tensor:
        told, tokens = self._told(batch.rows)
        losses = self._losses(told - batch.reference[:, 0], batch.is_liked)
        return (losses + self._learned(told, tokens, batch.is_liked)).sum() * scale

    def measure(
        self, table: TokenTable, most_tokens: int, check_stop: Callable[[], None]
    ) -> Measured:
        """Return the mean loss, and the share of answers that moved the way of their thumb."""
        found = torch.zeros(3, len(table), device=self.device)

        def ask(items: list[int]) -> None:
            batch = self.lay_out(table, items)
            told, tokens = self._told(batch.rows)
            found[0, items] = told - batch.reference[:, 0]
            found[1, items] = self._moved(batch.crossed, batch.reference[:, 1])
            found[2, items] = self._learned(told, tokens, batch.is_liked)

        self.ask_all(table, most_tokens, check_stop, ask, passes=2)
        rewards, crossed, learned = self.team.sum_tensor(found)
        is_liked = torch.from_numpy(table.notes == 1).to(self.device)
        before = self._drift
        self._drift = crossed.mean().clamp(min=0)
        loss = float((self._losses(rewards, is_liked) + learned).mean())
        right = float(((rewards > self._drift) == is_liked).float().mean())
        # What is learned must not depend on having measured.
        self._drift = before
        return Measured(loss, right)

    def measure_base(
        self,
        tables: TokenTables,
        most_tokens: int,
        check_stop: Callable[[], None],
    ) -> Measured:
        """Return its loss; it has moved nowhere, so nothing of it is right or wrong."""
        return Measured(self.measure(tables.validation, most_tokens, check_stop).loss)

    @torch.no_grad()
    def _moved_in_general(self, batch: ThumbBatch) -> float:
        return float(self._moved(batch.crossed, batch.reference[:, 1]).sum())

    def _moved(self, rows: MicroBatch, reference: torch.Tensor) -> torch.Tensor:
        return self._told(rows)[0] - reference

    def _told(self, rows: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each answer and its length in tokens, each (answers,)."""
        told = self.loss.log_probabilities(rows)
        return summed_by_row(told, rows), summed_by_row(torch.ones_like(told), rows)

    def _learned(
        self, told: torch.Tensor, tokens: torch.Tensor, is_liked: torch.Tensor
    ) -> torch.Tensor:
        """Return what learning the liked answers adds to each loss: (answers,)."""
        return torch.where(is_liked, -self._answer_weight * told / tokens, 0.0)

    def _losses(self, moved: torch.Tensor, is_liked: torch.Tensor) -> torch.Tensor:
        beta = float(self.recipe.objective_settings["beta"])
        return kto_losses(
            moved, self._drift, is_liked, beta=beta, desirable=self._up, undesirable=self._down
        )

    def _balance(self, train: TokenTable) -> None:
        """Give the rarer thumb so much more weight that both weigh the same together."""
        ups = int((train.notes == 1).sum())
        downs = len(train) - ups
        if ups and downs:
            self._up *= max(1.0, downs / ups)
            self._down *= max(1.0, ups / downs)


def kto_losses(
    moved: torch.Tensor,
    drift: torch.Tensor,
    is_liked: torch.Tensor,
    *,
    beta: float,
    desirable: float,
    undesirable: float,
) -> torch.Tensor:
    """Return the loss of each answer, equation 8 of the paper.

    Args:
        moved: log-probability minus that of the base model, (answers,).
        drift: the same in general, estimated on answers to other questions.
        is_liked: the thumbs, (answers,).
        beta: how soon a further move counts less.
        desirable: weight of a thumb up.
        undesirable: weight of a thumb down.
    """
    ahead = beta * (moved - drift)
    liked = desirable * (1 - torch.sigmoid(ahead))
    disliked = undesirable * (1 - torch.sigmoid(-ahead))
    return torch.where(is_liked, liked, disliked)
