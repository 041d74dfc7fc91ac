"""What people prefer: two answers to one question, or an answer with a thumb.

The shapes that are read are those of TRL (`prompt`, `chosen`, `rejected`, as text or as messages,
with the prompt apart or within both; `prompt`, `completion`, `label`) and of OpenAI's preference
files (`input` with its messages, `preferred_output`, `non_preferred_output`).
"""

from typing import Any, Final

from app.datasets.readers.conversations import (
    Conversation,
    NoExampleError,
    messages_in,
    read_conversation,
)
from app.datasets.readers.records import Reason

_UP: Final = frozenset(
    {"true", "yes", "y", "1", "+1", "up", "good", "like", "liked", "positive"}
    | {"👍", "👍🏻", "ja", "oui", "sí", "si"}
)
_DOWN: Final = frozenset(
    {"false", "no", "n", "0", "-1", "down", "bad", "dislike", "disliked", "negative"}
    | {"👎", "👎🏻", "nein", "non"}
)
THUMB_WORDS: Final = _UP | _DOWN


def read_thumb(text: str) -> bool:
    """Return whether a thumb is up.

    Raises:
        NoExampleError: if the text says neither.
    """
    word = thumb_word(text)
    if word in _UP:
        return True
    if word in _DOWN:
        return False
    raise NoExampleError(Reason.NO_THUMB)


def thumb_word(text: str) -> str:
    """Reduce what stands in a column of thumbs to one word: "Thumbs up" is "up"."""
    words = text.casefold().replace("_", " ").replace("-", " -").split()
    kept = [word for word in words if word not in {"thumb", "thumbs"}]
    return "".join(kept[:1]) if len(kept) == 1 else " ".join(kept)


def holds_turns(value: Any) -> bool:  # noqa: ANN401 (JSON is anything)
    """Say whether a value is messages rather than a text."""
    return isinstance(next(iter(messages_in(value)), None), dict)


def read_answered(prompt: Any, answer: Any) -> Conversation:  # noqa: ANN401 (JSON is anything)
    """Put a prompt and an answer together, each of which may be a text or messages.

    Raises:
        NoExampleError: if they are no question with an answer.
    """
    return read_conversation([*_turns(prompt, "user"), *_turns(answer, "assistant")])


def read_rejected(prompt: Any, rejected: Any, chosen: Conversation) -> str:  # noqa: ANN401
    """Return the answer that people like less, to the same question as the one they chose.

    Raises:
        NoExampleError: if it is missing, the same, or an answer to something else.
    """
    if not rejected:
        raise NoExampleError(Reason.NO_SECOND_ANSWER)
    other = read_answered(prompt, rejected)
    if (other.instructions, other.earlier, other.question) != (
        chosen.instructions,
        chosen.earlier,
        chosen.question,
    ):
        raise NoExampleError(Reason.DIFFERENT_QUESTIONS)
    if other.answer == chosen.answer:
        raise NoExampleError(Reason.SAME_ANSWERS)
    return other.answer


def _turns(value: Any, role: str) -> list[Any]:  # noqa: ANN401 (JSON is anything)
    if isinstance(value, dict):
        value = value.get("messages", [value])
    if isinstance(value, list):
        return value
    return [{"role": role, "content": value}] if value else []
