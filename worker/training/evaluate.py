"""How well the model does on what it has not learned from: a loss, and answers to look at."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from app.runs.costs.asking import SHOWN_SECONDS
from app.sizes import percent
from worker.methods.learner import Learner
from worker.training.answers import CUT_OFF, answers_to
from worker.training.measured import Measured
from worker.training.memory import MemoryBudget
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.objective import Objective
from worker.training.questions import SampleQuestion
from worker.training.tokens import TokenTables


class Evaluator:
    """Asks the model, and the base model within it, what was held back.

    Nothing that is learned depends on having asked: the model stands in evaluation mode for as
    long as it takes, and no random number is drawn.

    Args:
        learner: the base model and what it learns.
        objective: what is measured.
        tables: the rows, of which the held-out ones are measured.
        samples: the questions whose answers are shown.
        budget: how much may be read at once.
        check_stop: raises StoppedError when the run is asked to stop.
    """

    def __init__(
        self,
        learner: Learner,
        objective: Objective,
        tables: TokenTables,
        samples: list[SampleQuestion],
        budget: MemoryBudget,
        check_stop: Callable[[], None],
    ) -> None:
        self._learner = learner
        self._model = learner.model
        self._objective = objective
        self._tables = tables
        self._budget = budget
        self._check_stop = check_stop
        self.samples = samples

    def measure(self) -> Measured:
        """Return what the model makes of all held-out items."""
        with self._asking():
            return self._budget.within(
                lambda most_tokens: self._objective.measure(
                    self._tables.validation, most_tokens, self._look
                )
            )

    def measure_base(self) -> Measured:
        """Return what the base model makes of them, as if nothing had been learned."""
        with self._asking(), self._learner.as_base():
            return self._budget.within(
                lambda most_tokens: self._objective.measure_base(
                    self._tables, most_tokens, self._look
                )
            )

    def answers(self) -> list[str]:
        """Return the likeliest answer to each sample question, as far as time and memory allow."""
        return self._answered(nullcontext)

    def base_answers(self) -> list[str]:
        """Return what the base model answers to the sample questions; it cannot sort."""
        if isinstance(self._objective, Kinds):
            return [""] * len(self.samples)
        return self._answered(self._learner.as_base)

    def _answered(self, as_whom: Callable[[], AbstractContextManager[None]]) -> list[str]:
        given = [CUT_OFF] * len(self.samples)

        def ask() -> None:
            with self._asking(), as_whom():
                for place, said in self._said():
                    given[place] = said

        self._budget.if_it_fits(ask)
        return given

    def _said(self) -> Iterable[tuple[int, str]]:
        if isinstance(self._objective, Kinds):
            scores = [self._objective.scores_of(sample.prompt_ids) for sample in self.samples]
            return enumerate(map(_surest, scores))
        answers = answers_to(
            self.samples,
            self._learner,
            self._objective,
            tokens_at_once=self._budget.tokens,
            seconds=SHOWN_SECONDS,
            check_stop=self._check_stop,
        )
        return ((place, answer.shown) for place, answer in answers)

    def _look(self) -> None:
        self._check_stop()
        self._budget.look()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()


def _surest(scores: list[tuple[str, float]]) -> str:
    kind, share = scores[0]
    return f"{kind} ({percent(share)})"
