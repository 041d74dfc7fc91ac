"""How near the practice text comes to each held-out question: the page shows it openly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from worker.starter.conversation import normalised
from worker.starter.corpus import conversations
from worker.starter.held_out import held_out_questions

_CONVERSATIONS = 40_000


@dataclass(frozen=True)
class Near:
    """A text of the generator, and the share of words that it has in common with a question."""

    text: str
    shared: float


def nearest_texts(seed: int) -> dict[int, Near]:
    """The share is of all words in either text, so longer texts cannot win by their length."""
    asked = [(entry.number, _words(entry.question)) for entry in held_out_questions()]
    best = {number: Near("", 0.0) for number, _ in asked}
    for conversation in islice(conversations(seed), _CONVERSATIONS):
        for message in conversation.messages:
            if message.role != "user":
                continue
            words = _words(message.content)
            for number, held_out in asked:
                common = len(held_out & words)
                shared = common / (len(held_out) + len(words) - common)
                if shared > best[number].shared:
                    best[number] = Near(message.content, shared)
    return best


def _words(text: str) -> frozenset[str]:
    return frozenset(normalised(text).split())
