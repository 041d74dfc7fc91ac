"""What happens to an example that is longer than the limit.

The rule, in its order:

1. The conversation loses its oldest turns, as long as a question and its answer remain.
2. The question loses its beginning, down to a quarter of the limit.
3. The system message is left away.

An answer is never cut: a model that learns answers without their end learns not to end. An example
that is still too long is left out and counted. A long passage is no conversation: it is divided,
and the parts overlap by one token, so that each token but the very first is learned once.
"""

from collections.abc import Sequence
from typing import Final

from worker.training.chat_templates import ChatFormat, EncodedRow
from worker.training.examples import Message

_CUTTING_ATTEMPTS: Final = 6


def fit_conversation(
    chat: ChatFormat, messages: Sequence[Message], limit: int
) -> EncodedRow | None:
    """Return the conversation in at most `limit` tokens, or None where the rule leaves it out."""
    fitted = fit_messages(chat, messages, limit)
    return fitted[1] if fitted else None


def fit_messages(
    chat: ChatFormat, messages: Sequence[Message], limit: int
) -> tuple[list[Message], EncodedRow] | None:
    """Return what the rule keeps of a conversation, and its row; None where it is left out."""
    kept = list(messages)
    row = _encode(chat, kept)
    while row is not None and len(row.ids) > limit and (shorter := _without_oldest_turn(kept)):
        kept = shorter
        row = _encode(chat, kept)
    if row is not None and len(row.ids) > limit:
        kept, row = _cut_question(chat, kept, row, limit)
    if row is not None and len(row.ids) > limit and kept[0]["role"] == "system":
        kept = kept[1:]
        row = _encode(chat, kept)
    if row is None or row.answer_tokens == 0 or len(row.ids) > limit:
        return None
    return kept, row


def divide_passage(ids: list[int], limit: int) -> list[EncodedRow]:
    """Divide a passage into parts of at most `limit` tokens.

    The first token of a part only leads to the second, so the next part begins with the last token
    of the one before.
    """
    starts = range(0, len(ids) - 1, limit - 1)
    parts = [ids[start : start + limit] for start in starts]
    return [EncodedRow(part, [0] + [1] * (len(part) - 1)) for part in parts]


def _encode(chat: ChatFormat, messages: list[Message]) -> EncodedRow | None:
    return chat.encode([messages])[0]


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """Drop the oldest question and what was answered to it; None if only one turn is left."""
    first = 1 if messages[0]["role"] == "system" else 0
    for index in range(first + 1, len(messages) - 1):
        if messages[index]["role"] == "user":
            return [*messages[:first], *messages[index:]]
    return None


def _cut_question(
    chat: ChatFormat, messages: list[Message], row: EncodedRow, limit: int
) -> tuple[list[Message], EncodedRow | None]:
    """Take words from the beginning of the question until the row fits or the least is left."""
    index = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
    if index is None:
        return messages, row
    question = messages[index]["content"]
    length = len(chat.encode_text(question))
    least = min(length, limit // 4)
    wanted = length
    current: EncodedRow | None = row
    for _ in range(_CUTTING_ATTEMPTS):
        if current is None or len(current.ids) <= limit or wanted == least:
            break
        wanted = max(least, wanted - (len(current.ids) - limit))
        shorter = Message(role="user", content=chat.last_tokens_of(question, wanted))
        messages = [*messages[:index], shorter, *messages[index + 1 :]]
        current = _encode(chat, messages)
    return messages, current
