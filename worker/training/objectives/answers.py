"""Answers and texts: the mean surprise over all tokens that are to be told."""

from collections.abc import Sequence

import torch

from worker.training.batches import MicroBatch, lay_out
from worker.training.encoded import Encoder
from worker.training.encoders import AnswerEncoder
from worker.training.objectives.objective import Objective
from worker.training.tokens import TokenTable


class Answers(Objective):
    """Cross-entropy over the answers' tokens; a passage is an answer to nothing."""

    @property
    def encoder(self) -> Encoder:
        return AnswerEncoder(self.chat)

    def lay_out(self, table: TokenTable, items: Sequence[int]) -> MicroBatch:
        return lay_out(table, items, self.filling, self.device)

    def total(self, batch: MicroBatch, scale: float = 1.0) -> torch.Tensor:
        return self.loss.total(batch, scale)
