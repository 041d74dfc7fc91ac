"""What pairs of answers have in common, however they are learned from."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from worker.training.batches import MicroBatch, lay_out_rows
from worker.training.encoded import Encoder
from worker.training.encoders import PairEncoder
from worker.training.measured import Measured
from worker.training.objectives.objective import Objective, summed_by_row
from worker.training.tokens import TokenTable


@dataclass(frozen=True)
class PairBatch:
    """Pairs of answers to the same questions: first all better ones, then all worse ones.

    Attributes:
        rows: of both.
        reference: what the base model says to them, (pairs, 2); empty where it is not asked.
    """

    rows: MicroBatch
    reference: torch.Tensor

    @property
    def units(self) -> int:
        return self.rows.ids.shape[0] // 2

    @property
    def tokens(self) -> int:
        return self.rows.tokens


@dataclass(frozen=True)
class PairScores:
    """The log-probabilities of a batch's answers, each (pairs,), and their lengths in tokens."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor


class Pairs(Objective):
    """Learns from pairs: a subclass says what the loss of each pair is."""

    @property
    def encoder(self) -> Encoder:
        return PairEncoder(self.chat)

    def lay_out(self, table: TokenTable, items: Sequence[int]) -> PairBatch:
        rows = [table.row(item, part) for part in (0, 1) for item in items]
        return PairBatch(
            lay_out_rows(rows, self.filling, self.device), self.reference_of(table, items)
        )

    @abstractmethod
    def reference_of(self, table: TokenTable, items: Sequence[int]) -> torch.Tensor:
        """Return what the base model says; nothing for those who do not measure against it."""

    def scores(self, batch: PairBatch) -> PairScores:
        """Return how likely the answers are to the model."""
        told = self.loss.log_probabilities(batch.rows)
        sums = summed_by_row(told, batch.rows)
        tokens = summed_by_row(torch.ones_like(told), batch.rows)
        half = batch.units
        return PairScores(sums[:half], sums[half:], tokens[:half], tokens[half:])

    @abstractmethod
    def losses(self, scores: PairScores, reference: torch.Tensor) -> torch.Tensor:
        """Return the loss of each pair: (pairs,)."""

    def total(self, batch: PairBatch, scale: float = 1.0) -> torch.Tensor:
        return self.losses(self.scores(batch), batch.reference).sum() * scale

    def measure(
        self, table: TokenTable, most_tokens: int, check_stop: Callable[[], None]
    ) -> Measured:
        """Return the mean loss, and the share of pairs whose better answer is the likelier one."""

        def ask(items: list[int]) -> tuple[float, float]:
            batch = self.lay_out(table, items)
            scores = self.scores(batch)
            right = (scores.chosen > scores.rejected).sum()
            return float(self.losses(scores, batch.reference).sum()), float(right)

        asked = self.ask_all(table, most_tokens, check_stop, ask)
        total, right = self.team.sum(
            sum(loss for loss, _ in asked), sum(right for _, right in asked)
        )
        return Measured(total / len(table), right / len(table))
