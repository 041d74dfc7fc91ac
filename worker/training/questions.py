"""Questions to ask a model: examples whose answers are known, as far as they are short enough."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from app.runs.costs.asking import SHOWN_QUESTIONS
from worker.training.answer_places import UnusableConversationError
from worker.training.chat_templates import ChatFormat
from worker.training.examples import Example, Message
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.objective import Objective

# Where the first examples are too long to be asked, others stand in; not all are looked through.
_CANDIDATES: Final = 50
LEAST_ANSWER_TOKENS: Final = 64
_MOST_ANSWER_TOKENS: Final = 256
_PASSAGE_PROMPT_TOKENS: Final = 24
_MORE: Final = " …"


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


def sample_questions(
    objective: Objective,
    examples: Iterable[Example],
    most_tokens: int,
    count: int = SHOWN_QUESTIONS,
) -> list[SampleQuestion]:
    """Prepare the questions of the first few examples that fit into so many tokens."""
    prepared = (_prepare(objective, example) for example in islice(examples, _CANDIDATES))
    fitting = (
        question
        for question in prepared
        if question is not None and len(question.prompt_ids) + question.most_tokens <= most_tokens
    )
    return list(islice(fitting, count))


def _prepare(objective: Objective, example: Example) -> SampleQuestion | None:
    chat = objective.chat
    if isinstance(objective, Kinds):
        return SampleQuestion(example.text, example.kind, objective.encode(example.text), 0)
    if not example.messages:
        return _prepare_passage(chat, example.text)
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
    room = min(max(expected_tokens * 3 // 2, LEAST_ANSWER_TOKENS), _MOST_ANSWER_TOKENS)
    return SampleQuestion(_last_question(history), answer["content"], prompt, room)


def _prepare_passage(chat: ChatFormat, text: str) -> SampleQuestion:
    ids = chat.encode_beginning(text)
    end = _where_a_word_ends(chat, ids, _PASSAGE_PROMPT_TOKENS)
    head, tail = ids[:end], ids[end:]
    shown, expected = _shown(chat, head), _shown(chat, tail[:LEAST_ANSWER_TOKENS])
    expected += _MORE if len(tail) > LEAST_ANSWER_TOKENS else ""
    return SampleQuestion(shown, expected, head, LEAST_ANSWER_TOKENS)


def _where_a_word_ends(chat: ChatFormat, ids: list[int], most: int) -> int:
    """Return how many ids, at most so many, end before a blank; all where writing has none."""
    following = _shown(chat, ids[: most + 1])
    for count in range(most, most // 2, -1):
        if following[len(_shown(chat, ids[:count])) :][:1].isspace():
            return count
    return most


def _shown(chat: ChatFormat, ids: list[int]) -> str:
    return str(chat.tokenizer.decode(ids, skip_special_tokens=True))


def _last_question(history: list[Message]) -> str:
    return history[-1]["content"]
