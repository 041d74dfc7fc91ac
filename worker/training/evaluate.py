"""How well the model does on what it has not learned from: a loss, and answers to look at."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch
from transformers import DynamicCache

from worker.methods.learner import Learner
from worker.training.chat_templates import ChatFormat, UnusableConversationError
from worker.training.examples import Example, Message
from worker.training.measured import Measured
from worker.training.memory import MemoryBudget
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.objective import Objective
from worker.training.team.team import ALONE, Team
from worker.training.tokens import TokenTables

_SAMPLE_COUNT: Final = 3
# Where the first examples are too long to be asked, others stand in; not all are looked through.
_CANDIDATES: Final = 50
_LEAST_ANSWER_TOKENS: Final = 64
_MOST_ANSWER_TOKENS: Final = 256
_SECONDS_FOR_ALL_ANSWERS: Final = 30.0
_PASSAGE_PROMPT_TOKENS: Final = 24
CUT_OFF: Final = " …"


@dataclass(frozen=True)
class SampleQuestion:
    """A held-out question, ready to be asked again and again.

    Attributes:
        most_tokens: room for half as much again as what was expected.
    """

    question: str
    expected: str
    prompt_ids: list[int]
    most_tokens: int


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
        """Return the most likely answer to each sample question, as far as time allows."""
        if isinstance(self._objective, Kinds):
            return [_surest(self._objective.scores_of(s.prompt_ids)) for s in self.samples]
        deadline = time.monotonic() + _SECONDS_FOR_ALL_ANSWERS
        with self._asking():
            return [
                answer(
                    self._learner.base,
                    self._objective.chat,
                    sample.prompt_ids,
                    self._check_stop,
                    cache=self._learner.new_cache(),
                    most_tokens=sample.most_tokens,
                    deadline=_share_of(deadline, to_come=len(self.samples) - place),
                    team=self._objective.team,
                )
                for place, sample in enumerate(self.samples)
            ]

    def base_answers(self) -> list[str]:
        """Return what the base model answers to the sample questions; it cannot sort."""
        if isinstance(self._objective, Kinds):
            return [""] * len(self.samples)
        with self._learner.as_base():
            return self.answers()

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


def sample_questions(
    objective: Objective,
    examples: Iterable[Example],
    most_tokens: int,
    count: int = _SAMPLE_COUNT,
) -> list[SampleQuestion]:
    """Prepare the questions of the first few examples that fit into so many tokens."""
    prepared = (_prepare(objective, example) for example in islice(examples, _CANDIDATES))
    fitting = (
        question
        for question in prepared
        if question is not None and len(question.prompt_ids) + question.most_tokens <= most_tokens
    )
    return list(islice(fitting, count))


def _surest(scores: list[tuple[str, float]]) -> str:
    kind, share = scores[0]
    return f"{kind} ({share:.0%})"


def _prepare(objective: Objective, example: Example) -> SampleQuestion | None:
    chat = objective.chat
    if isinstance(objective, Kinds):
        return SampleQuestion(example.text, example.kind, objective.encode(example.text), 0)
    if not example.messages:
        ids = chat.encode_text(example.text)
        head, tail = ids[:_PASSAGE_PROMPT_TOKENS], ids[_PASSAGE_PROMPT_TOKENS:]
        decode = chat.tokenizer.decode
        expected = str(decode(tail[:_LEAST_ANSWER_TOKENS]))
        expected += CUT_OFF if len(tail) > _LEAST_ANSWER_TOKENS else ""
        return SampleQuestion(str(decode(head)), expected, head, _LEAST_ANSWER_TOKENS)
    if example.answer and not (example.rejected or example.is_liked):
        return None  # what people disliked is nothing to be expected
    messages = example.answered(example.answer) if example.answer else list(example.messages)
    *history, answer = messages
    if not history:
        return None
    try:
        prompt = chat.encode_prompt(history)
    except UnusableConversationError:
        return None
    expected_tokens = len(chat.encode_text(answer["content"]))
    room = min(max(expected_tokens * 3 // 2, _LEAST_ANSWER_TOKENS), _MOST_ANSWER_TOKENS)
    return SampleQuestion(_last_question(history), answer["content"], prompt, room)


def _last_question(history: list[Message]) -> str:
    return history[-1]["content"]


def _share_of(deadline: float, to_come: int) -> float:
    """Return until when the next answer may take, so that all those to come get as long."""
    begin = time.monotonic()
    return begin + (deadline - begin) / to_come


@torch.no_grad()
def answer(
    model: Any,  # noqa: ANN401 (transformers' models share no type)
    chat: ChatFormat,
    prompt_ids: list[int],
    check_stop: Callable[[], None],
    *,
    cache: DynamicCache | None = None,
    most_tokens: int = _LEAST_ANSWER_TOKENS,
    deadline: float = math.inf,
    team: Team = ALONE,
) -> str:
    """Return the model's most likely answer, word by word, without any chance in it.

    Args:
        model: the base model, with or without an adapter on its layers.
        chat: how this model's answers end.
        prompt_ids: the question.
        check_stop: raises StoppedError when the run is asked to stop.
        cache: what the model remembers before it reads the question, such as virtual tokens.
        most_tokens: after so many tokens the answer is cut off, and three dots say so.
        deadline: the same at this moment of the monotonic clock, in seconds.
        team: who else answers the same, of a model that may be divided among them.
    """
    given: list[int] = []
    device = next(model.parameters()).device
    ids = torch.tensor([prompt_ids], device=device)
    ended = False
    # Clocks differ, so the lead's says how long an answer may take.
    while team.lead_says(
        here=not ended and len(given) < most_tokens and time.monotonic() < deadline
    ):
        check_stop()
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = int(output.logits[0, -1].argmax())
        ended = token in chat.stop_ids
        if not ended:
            given.append(token)
        cache = output.past_key_values
        ids = torch.tensor([[token]], device=device)
    text = str(chat.tokenizer.decode(given, skip_special_tokens=True)).strip()
    return text if ended else text + CUT_OFF
