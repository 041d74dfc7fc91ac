"""How well the model does on what it has not learned from: a loss, and answers to look at."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch

from worker.training.batches import divide, lay_out
from worker.training.chat_templates import ChatFormat, UnusableConversationError
from worker.training.examples import Example, Message
from worker.training.loss import AnswerLoss
from worker.training.memory import MemoryBudget
from worker.training.tokens import TokenTable

_SAMPLE_COUNT: Final = 3
# Where the first examples are too long to be asked, others stand in; not all are looked through.
_CANDIDATES: Final = 50
_LEAST_ANSWER_TOKENS: Final = 64
_MOST_ANSWER_TOKENS: Final = 256
_SECONDS_FOR_ALL_ANSWERS: Final = 30.0
_PASSAGE_PROMPT_TOKENS: Final = 24
_CUT_OFF: Final = " …"


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
        model: the base model that wears the adapter.
        loss: what is measured.
        chat: how a question is put to this model.
        table: the held-out rows.
        samples: the questions whose answers are shown.
        filling: the token that fills rows up.
        budget: how much may be read at once.
        check_stop: raises StoppedError when the run is asked to stop.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 (peft ships no types)
        loss: AnswerLoss,
        chat: ChatFormat,
        table: TokenTable,
        samples: list[SampleQuestion],
        filling: int,
        budget: MemoryBudget,
        check_stop: Callable[[], None],
    ) -> None:
        self._model = model
        self._loss = loss
        self._chat = chat
        self._table = table
        self._filling = filling
        self._budget = budget
        self._check_stop = check_stop
        self.samples = samples

    def loss(self) -> float:
        """Return the mean loss over all held-out answer tokens."""
        device = next(self._model.parameters()).device
        with self._asking():
            return self._budget.within(
                lambda most_tokens: held_out_loss(
                    self._loss,
                    self._table,
                    filling=self._filling,
                    most_tokens=most_tokens,
                    device=device,
                    check_stop=self._check_stop,
                )
            )

    def answers(self) -> list[str]:
        """Return the most likely answer to each sample question, as far as time allows."""
        deadline = time.monotonic() + _SECONDS_FOR_ALL_ANSWERS
        with self._asking():
            return [
                answer(
                    self._model,
                    self._chat,
                    sample.prompt_ids,
                    self._check_stop,
                    most_tokens=sample.most_tokens,
                    deadline=_share_of(deadline, to_come=len(self.samples) - place),
                )
                for place, sample in enumerate(self.samples)
            ]

    def base_loss(self) -> float:
        """Return the loss of the base model, as if nothing had been learned."""
        with self._model.disable_adapter():
            return self.loss()

    def base_answers(self) -> list[str]:
        """Return what the base model answers to the sample questions."""
        with self._model.disable_adapter():
            return self.answers()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()


@torch.no_grad()
def held_out_loss(
    loss: AnswerLoss,
    table: TokenTable,
    *,
    filling: int,
    most_tokens: int,
    device: torch.device,
    check_stop: Callable[[], None],
) -> float:
    """Return the mean loss over all answer tokens of a split."""
    total, answers = 0.0, 0
    for rows in divide_all(table, most_tokens):
        check_stop()
        batch = lay_out(table, rows, filling, device)
        total += float(loss.total(batch))
        answers += len(batch.targets)
    return total / answers


def divide_all(table: TokenTable, most_tokens: int) -> list[list[int]]:
    """Divide a whole split into micro-batches, a limited number of rows at a time."""
    ordered = sorted(range(len(table)), key=lambda row: (int(table.lengths[row]), row))
    return [
        group
        for start in range(0, len(ordered), 64)
        for group in divide(ordered[start : start + 64], table.lengths, most_tokens)
    ]


def sample_questions(
    chat: ChatFormat, examples: Iterable[Example], most_tokens: int
) -> list[SampleQuestion]:
    """Prepare the questions of the first few examples that fit into so many tokens."""
    prepared = (_prepare(chat, example) for example in islice(examples, _CANDIDATES))
    fitting = (
        question
        for question in prepared
        if question is not None and len(question.prompt_ids) + question.most_tokens <= most_tokens
    )
    return list(islice(fitting, _SAMPLE_COUNT))


def _prepare(chat: ChatFormat, example: Example) -> SampleQuestion | None:
    if not example.messages:
        ids = chat.encode_text(example.text)
        head, tail = ids[:_PASSAGE_PROMPT_TOKENS], ids[_PASSAGE_PROMPT_TOKENS:]
        decode = chat.tokenizer.decode
        expected = str(decode(tail[:_LEAST_ANSWER_TOKENS]))
        expected += _CUT_OFF if len(tail) > _LEAST_ANSWER_TOKENS else ""
        return SampleQuestion(str(decode(head)), expected, head, _LEAST_ANSWER_TOKENS)
    *history, answer = example.messages
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
    model: Any,  # noqa: ANN401 (peft ships no types)
    chat: ChatFormat,
    prompt_ids: list[int],
    check_stop: Callable[[], None],
    *,
    most_tokens: int = _LEAST_ANSWER_TOKENS,
    deadline: float = math.inf,
) -> str:
    """Return the model's most likely answer, word by word, without any chance in it.

    Args:
        model: the base model, with or without an adapter.
        chat: how this model's answers end.
        prompt_ids: the question.
        check_stop: raises StoppedError when the run is asked to stop.
        most_tokens: after so many tokens the answer is cut off, and three dots say so.
        deadline: the same at this moment of the monotonic clock, in seconds.
    """
    given: list[int] = []
    cache = None
    device = next(model.parameters()).device
    ids = torch.tensor([prompt_ids], device=device)
    ended = False
    while not ended and len(given) < most_tokens and time.monotonic() < deadline:
        check_stop()
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = int(output.logits[0, -1].argmax())
        ended = token in chat.stop_ids
        if not ended:
            given.append(token)
        cache = output.past_key_values
        ids = torch.tensor([[token]], device=device)
    text = str(chat.tokenizer.decode(given, skip_special_tokens=True)).strip()
    return text if ended else text + _CUT_OFF
