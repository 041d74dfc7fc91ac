"""A few training examples, asked once more at the end: did anything change?

The counts go into the result; what they mean is said by app/runs/recall.py. Nothing of what is
saved depends on them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import torch

from app.runs.recall import are_alike
from worker.methods.learner import Learner
from worker.training.batches import divide
from worker.training.evaluate import CUT_OFF, SampleQuestion, answer, sample_questions
from worker.training.examples import data_file, read_examples
from worker.training.memory import MemoryBudget
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.objective import Objective
from worker.training.tokens import TokenTable

_QUESTIONS: Final = 10
_MOST_TOKENS: Final = 48
_SECONDS: Final = 16.0
# The questions are taken from all over the file, but no file is read to its end for them.
_FARTHEST_APART: Final = 100


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
            after, tuned = self._rows_loss(), self._answers(questions)
            with self.learner.as_base():
                before, base = self._rows_loss(), self._answers(questions)
        finally:
            self.learner.model.train()
        pairs = [
            (question, one, other)
            for question, one, other in zip(questions, base, tuned, strict=True)
            # Of what was cut off before its first word nothing can be said.
            if CUT_OFF not in (one, other)
        ]
        return Recall(
            asked=len(pairs),
            alike=sum(_alike(one, other) for _, one, other in pairs),
            right=sum(_alike(one, question.expected) for question, one, _ in pairs),
            loss_before=before,
            loss_after=after,
        )

    def _questions(self, run_folder: Path, most_tokens: int) -> list[SampleQuestion]:
        apart = min(max(len(self.table) // _QUESTIONS, 1), _FARTHEST_APART)
        examples = islice(read_examples(data_file(run_folder, "train")), 0, None, apart)
        return [
            replace(question, most_tokens=min(question.most_tokens, _MOST_TOKENS))
            for question in sample_questions(self.objective, examples, most_tokens, _QUESTIONS)
        ]

    def _answers(self, questions: list[SampleQuestion]) -> list[str]:
        """Answer all of them within a few seconds; those of a slow model are cut off."""
        until = time.monotonic() + _SECONDS / 2
        answers = []
        for place, question in enumerate(questions):
            share = (until - time.monotonic()) / (len(questions) - place)
            answers.append(
                answer(
                    self.learner.base,
                    self.objective.chat,
                    question.prompt_ids,
                    self.check_stop,
                    cache=self.learner.new_cache(),
                    most_tokens=question.most_tokens,
                    deadline=time.monotonic() + share,
                    team=self.objective.team,
                )
            )
        return answers

    @torch.no_grad()
    def _rows_loss(self) -> float | None:
        """Return the mean loss over a few rows from all over the table."""
        rows = range(0, len(self.table), max(len(self.table) // _QUESTIONS, 1))[:_QUESTIONS]

        def measured(most_tokens: int) -> float:
            total, units = 0.0, 0
            fills = self.objective.loss.fills
            for group in divide(list(rows), self.table.lengths, most_tokens, fills=fills):
                self.check_stop()
                self.budget.look()
                batch = self.objective.lay_out(self.table, group)
                total += float(self.objective.total(batch))
                units += batch.units
            return total / units

        loss = self.budget.within(measured)
        return loss if math.isfinite(loss) else None


def _alike(one: str, other: str) -> bool:
    is_cut = one.endswith(CUT_OFF) or other.endswith(CUT_OFF)
    return are_alike(one.removesuffix(CUT_OFF), other.removesuffix(CUT_OFF), is_cut=is_cut)
