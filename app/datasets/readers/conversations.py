"""Conversations as chat systems export them: OpenAI messages, ShareGPT, Alpaca's history."""

import re
from dataclasses import dataclass
from typing import Any, Final

from app.datasets.readers.json_stream import BrokenValueError, parse
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
_JSON_BEGINS: Final = re.compile(r"\s*(?:\[\s*)?\{")
_CONTENT_NAMES: Final = ("content", "value", "text", "parts")
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_TOOL_PARTS: Final = frozenset(
    {"tool_use", "tool_result", "functionCall", "functionResponse"}
    | {"function_call", "function_response"}
)
_PICTURE_PARTS: Final = frozenset({"inlineData", "inline_data", "fileData", "file_data"})


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


def messages_in(value: Any) -> list[Any]:  # noqa: ANN401 (JSON is anything)
    """Return a list as it is, or the messages of an object that has some; [] if it is neither."""
    messages = value.get("messages") if isinstance(value, dict) else value
    return messages if isinstance(messages, list) else []


def holds_speakers(value: Any) -> bool:  # noqa: ANN401 (JSON is anything)
    """Say whether a value is messages that say who speaks."""
    first = next(iter(messages_in(value)), None)
    return isinstance(first, dict) and not {"role", "from"}.isdisjoint(first)


def unpacked(value: Any) -> Any:  # noqa: ANN401 (JSON is anything)
    """Return the messages that stand as JSON in the cell of a table; anything else as it is."""
    if not isinstance(value, str) or not _JSON_BEGINS.match(value):
        return value
    try:
        parsed = parse(value)
    except BrokenValueError:
        return value
    return parsed if holds_speakers(parsed) else value


def read_conversation(value: Any) -> Conversation:  # noqa: ANN401 (JSON is anything)
    """Take a list of messages, or an object that holds one, apart.

    The last answer and the question before it become the example, all before them its earlier
    turns. What follows the last answer, and a greeting before the first question, is no part of
    any question and answer and is left away; so is an answer at the end whose weight is 0, which
    is OpenAI's mark for what is not to be learned.

    Raises:
        NoExampleError: if it holds no question with an answer.
    """
    messages = messages_in(value)
    if not messages:
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    system: list[str] = []
    turns: list[Turn] = []
    for message in _to_be_learned(messages):
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
            question, answer = map(_text, pair)
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
    return _ROLES[named], content_of(message)


def content_of(message: dict[str, Any]) -> str:
    """Return the text of a message.

    It is written as a text, as an object with a text, or as a list of parts, which Gemini keeps
    under a name of its own.

    Raises:
        NoExampleError: if it is anything but text.
    """
    given = (message.get(name) for name in _CONTENT_NAMES)
    return _text(next((content for content in given if content is not None), None))


def _text(content: Any) -> str:  # noqa: ANN401 (JSON is anything)
    if content is None:
        return ""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    parts = content if isinstance(content, list) else [content]
    return "\n".join(map(_text_of_part, parts)).strip()


def _text_of_part(part: Any) -> str:  # noqa: ANN401 (JSON is anything)
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    kind, text = str(part.get("type") or "text"), part.get("text")
    if kind in _TOOL_PARTS or any(part.get(name) for name in _TOOL_PARTS):
        raise NoExampleError(Reason.USES_TOOLS)
    if kind not in _TEXT_PARTS or any(part.get(name) for name in _PICTURE_PARTS):
        raise NoExampleError(Reason.USES_PICTURES)
    if isinstance(text, dict):
        # OpenAI's assistants wrap the text once more.
        text = text.get("value", text)
    if text is None and "text" in part:
        return ""
    if not isinstance(text, str):
        raise NoExampleError(Reason.NOT_A_CONVERSATION)
    return text
