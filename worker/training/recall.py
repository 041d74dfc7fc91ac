"""A few training examples, asked once more at the end: did anything change?

The counts go into the result; what they mean is said by app/runs/recall.py. Nothing of what is
saved depends on them.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import torch

from app.runs.costs.asking import RECALL_QUESTIONS, RECALL_SECONDS, RECALL_TOKENS
from app.runs.recall import are_alike
from worker.methods.learner import Learner
from worker.training.answers import Answer, answers_to
from worker.training.batches import divide
from worker.training.examples import data_file, read_examples
from worker.training.memory import MemoryBudget
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.objective import Objective
from worker.training.questions import SampleQuestion, sample_questions
from worker.training.tokens import TokenTable

# The questions are taken from all over the file, but no file is read to its end for them.
_FARTHEST_APART: Final = 100
# A slow machine may get no further than the first words, which many answers have in common.
_ENOUGH_TOKENS: Final = 12


@dataclass(frozen=True)
class Recall:
    """What became of the training questions.

    Attributes:
        asked: how many were answered by both.
        alike: to how many of them the tuned model gives the base model's answer.
        right: to how many of them the base model gave the example's own answer.
        loss_before: the base model's mean loss over a few training rows.
        loss_after: the tuned model's.
    """

    asked: int
    alike: int
    right: int
    loss_before: float | None
    loss_after: float | None


@dataclass
class _Heard:
    """What one of the two models said, as far as memory allowed."""

    loss: float | None = None
    answers: dict[int, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Recaller:
    """Asks both models, the base model within the tuned one.

    Attributes:
        learner: the base model and what is trained of it.
        objective: what is learned, and so what is measured.
        table: the training rows.
        budget: how much may be read at once.
        check_stop: raises StoppedError when the run is asked to stop.
    """

    learner: Learner
    objective: Objective
    table: TokenTable
    budget: MemoryBudget
    check_stop: Callable[[], None]

    def measure(self, run_folder: Path, most_tokens: int) -> Recall | None:
        """Ask a few training questions of at most so many tokens.

        A base model cannot sort into kinds, so of that nothing could be compared.
        """
        if isinstance(self.objective, Kinds):
            return None
        questions = self._questions(run_folder, most_tokens)
        self.learner.model.eval()
        try:
            tuned = self._heard(questions, nullcontext)
            base = self._heard(questions, self.learner.as_base)
        finally:
            self.learner.model.train()
        pairs = [
            (questions[place], base.answers[place], tuned.answers[place])
            # Where memory ran short, the longest questions were not asked.
            for place in base.answers.keys() & tuned.answers.keys()
            if _says_enough(base.answers[place]) and _says_enough(tuned.answers[place])
        ]
        return Recall(
            asked=len(pairs),
            alike=sum(_alike(one, other) for _, one, other in pairs),
            right=sum(
                are_alike(one.text, question.expected, one_is_cut=not one.is_whole)
                for question, one, _ in pairs
            ),
            loss_before=base.loss,
            loss_after=tuned.loss,
        )

    def _heard(
        self,
        questions: list[SampleQuestion],
        as_whom: Callable[[], AbstractContextManager[None]],
    ) -> _Heard:
        heard = _Heard()

        def ask() -> None:
            with as_whom():
                heard.loss = self._rows_loss()
                heard.answers.update(
                    answers_to(
                        questions,
                        self.learner,
                        self.objective,
                        tokens_at_once=self.budget.tokens,
                        seconds=RECALL_SECONDS,
                        check_stop=self.check_stop,
                    )
                )

        self.budget.if_it_fits(ask)
        return heard

    def _questions(self, run_folder: Path, most_tokens: int) -> list[SampleQuestion]:
        file = data_file(run_folder, "train")
        first = islice(read_examples(file), RECALL_QUESTIONS * _FARTHEST_APART)
        apart = max(sum(1 for _ in first) // RECALL_QUESTIONS, 1)
        examples = islice(read_examples(file), 0, None, apart)
        found = sample_questions(self.objective, examples, most_tokens, RECALL_QUESTIONS)
        return [
            replace(asked, most_tokens=min(asked.most_tokens, RECALL_TOKENS)) for asked in found
        ]

    @torch.no_grad()
    def _rows_loss(self) -> float | None:
        """Return the mean loss over a few rows from all over the table."""
        apart = max(len(self.table) // RECALL_QUESTIONS, 1)
        rows = range(0, len(self.table), apart)[:RECALL_QUESTIONS]
        total, units = 0.0, 0
        fills = self.objective.loss.fills
        for group in divide(list(rows), self.table.lengths, self.budget.tokens, fills=fills):
            self.check_stop()
            self.budget.look()
            batch = self.objective.lay_out(self.table, group)
            total += float(self.objective.total(batch))
            units += batch.units
        loss = total / units
        return loss if math.isfinite(loss) else None


def _says_enough(answer: Answer) -> bool:
    return answer.is_whole or answer.tokens >= _ENOUGH_TOKENS


def _alike(one: Answer, other: Answer) -> bool:
    return are_alike(
        one.text, other.text, one_is_cut=not one.is_whole, other_is_cut=not other.is_whole
    )
