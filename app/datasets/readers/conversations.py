"""Conversations as chat systems export them: OpenAI messages, ShareGPT, Alpaca's history."""

from dataclasses import dataclass
from typing import Any, Final

from app.datasets.readers.records import Reason

Turn = dict[str, str]

_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
_TOOL_ROLES: Final = frozenset(
    {"tool", "function", "function_call", "function_response", "observation", "tool_call"}
)


class NoExampleError(Exception):
    """A conversation from which nothing can be learned, with the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Conversation:
    instructions: str
    earlier: list[Turn]
    question: str
    answer: str


def read_conversation(value: Any) -> Conversation:  # noqa: ANN401 (JSON is anything)
    """Take a list of messages apart.

    The last answer and the question before it become the example, all before them its earlier
    turns. What follows the last answer, and a greeting before the first question, is no part of
    any question and answer and is left away; so is an answer at the end whose weight is 0, which
    is OpenAI's mark for what is not to be learned.

    Raises:
        NoExampleError: if it holds no question with an answer.
    """
    if not isinstance(value, list) or not value:
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    system: list[str] = []
    turns: list[Turn] = []
    for message in _to_be_learned(value):
        role, content = _role_and_content(message)
        if role == "system":
            system.append(content)
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{content}".strip()
        else:
            turns.append({"role": role, "content": content})
    return _split(_question_to_answer(turns), "\n\n".join(filter(None, system)))


def _to_be_learned(messages: list[Any]) -> list[Any]:
    """Return the messages up to the last answer that is to be learned.

    All answers of a conversation are learned, so one that is marked in its middle leaves all out.
    """
    answers = [
        place
        for place, message in enumerate(messages)
        if isinstance(message, dict) and message.get("role") == "assistant"
    ]
    marked = [place for place in answers if _is_weightless(messages[place])]
    if not marked:
        return messages
    learned = [place for place in answers if place not in marked]
    if not learned or marked[0] < learned[-1]:
        raise NoExampleError(Reason.NOT_TO_BE_LEARNED)
    return messages[: learned[-1] + 1]


def _is_weightless(answer: dict[str, Any]) -> bool:
    # Numbers come as they are written, see json_stream.
    return str(answer.get("weight", "1")) in {"0", "0.0"}


def read_history(value: Any) -> list[Turn]:  # noqa: ANN401 (JSON is anything)
    """Take Alpaca's history apart: a list of [question, answer]."""
    turns: list[Turn] = []
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            question, answer = (_content(text) for text in pair)
            turns.append({"role": "user", "content": question})
            turns.append({"role": "assistant", "content": answer})
    return turns


def _question_to_answer(turns: list[Turn]) -> list[Turn]:
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    questions = [place for place, turn in enumerate(turns) if turn["role"] == "user"]
    if not answers:
        raise NoExampleError(Reason.NO_ANSWER)
    if not questions or questions[0] > answers[-1]:
        raise NoExampleError(Reason.NO_QUESTION)
    return turns[questions[0] : answers[-1] + 1]


def _split(turns: list[Turn], instructions: str) -> Conversation:
    if any(not turn["content"] for turn in turns if turn["role"] == "assistant"):
        raise NoExampleError(Reason.EMPTY_ANSWER)
    if any(not turn["content"] for turn in turns if turn["role"] == "user"):
        raise NoExampleError(Reason.EMPTY_QUESTION)
    return Conversation(instructions, turns[:-2], turns[-2]["content"], turns[-1]["content"])


def _role_and_content(message: Any) -> tuple[str, str]:  # noqa: ANN401 (JSON is anything)
    if not isinstance(message, dict):
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    named = str(message.get("role", message.get("from", ""))).strip().lower()
    if named in _TOOL_ROLES or message.get("tool_calls") or message.get("function_call"):
        raise NoExampleError(Reason.USES_TOOLS)
    if named not in _ROLES:
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    content = message.get("content", message.get("value", message.get("text")))
    return _ROLES[named], _content(content)


def _content(value: Any) -> str:  # noqa: ANN401 (JSON is anything)
    """The text of a message; OpenAI also writes it as a list of parts."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return str(value).strip()
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in {"text", "input_text", "output_text"}:
            texts.append(str(part.get("text", "")))
        else:
            raise NoExampleError(Reason.USES_PICTURES)
    return "\n".join(texts).strip()
