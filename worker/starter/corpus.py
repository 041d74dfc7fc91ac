"""Mixes all kinds of practice text into one endless, seeded stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from random import Random

from worker.starter.answers import topic_turns
from worker.starter.conversation import Conversation, Message, normalised, system
from worker.starter.held_out import held_out_questions
from worker.starter.readings import reading_turns
from worker.starter.rewrites import copy_turns, rewrite_turns
from worker.starter.texts import sorting_turns, story_turns, summary_turns

_PLAIN_SYSTEM = (
    "You are a helpful assistant.", "You are Tailor Starter, a small practice model.",
    "Answer in a friendly way.", "You are a polite helper.", "Answer in short sentences.",
    "You help in a shop.", "You help in an office.", "Be short and clear.",
    "You are a friendly assistant for customers.", "Answer the question.",
)  # fmt: skip

_MAKERS: tuple[tuple[float, Callable[[Random], list[Message]]], ...] = (
    (1.2, lambda rng: topic_turns("small_talk.txt", rng)),
    (1.0, lambda rng: topic_turns("outside.txt", rng)),
    (2.0, lambda rng: topic_turns("shop.txt", rng)),
    (2.0, lambda rng: topic_turns("office.txt", rng)),
    (0.9, lambda rng: topic_turns("mails.txt", rng)),
    (2.6, reading_turns),
    (2.5, rewrite_turns),
    (1.5, summary_turns),
    (1.0, copy_turns),
    (0.5, sorting_turns),
    (0.5, story_turns),
)


@cache
def _forbidden() -> frozenset[str]:
    return frozenset(normalised(entry.question) for entry in held_out_questions())


def conversations(seed: int) -> Iterator[Conversation]:
    """Never asks a held-out question: the check is on the words, not on the spelling."""
    rng = Random(seed)  # noqa: S311 -- the text must follow from the seed
    forbidden = _forbidden()
    while True:
        conversation = _conversation(rng)
        if not any(normalised(message.content) in forbidden for message in conversation.messages):
            yield conversation


def _conversation(rng: Random) -> Conversation:
    makers = [maker for _, maker in _MAKERS]
    weights = [weight for weight, _ in _MAKERS]
    turns = rng.choices(makers, weights)[0](rng)
    # A few conversations go on for long, so that the whole context is learned.
    chance_to_go_on = 0.96 if rng.random() < 0.01 else 0.2
    while rng.random() < chance_to_go_on and turns[0].role != "system":
        more = rng.choices(makers, weights)[0](rng)
        if more[0].role != "system":
            turns += more
    if turns[0].role != "system" and rng.random() < 0.35:
        turns = [system(rng.choice(_PLAIN_SYSTEM)), *turns]
    return Conversation(tuple(turns))
