"""What the generator makes: conversations, and plain prose as a text without roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Literal

from worker.starter.wording import capitalised

Role = Literal["system", "user", "assistant"]
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    messages: tuple[Message, ...]


def user(content: str) -> Message:
    return Message("user", content)


def assistant(content: str) -> Message:
    return Message("assistant", content)


def system(content: str) -> Message:
    return Message("system", content)


def normalised(text: str) -> str:
    """Two questions that differ only in case and punctuation count as the same."""
    return _NOT_A_WORD.sub(" ", text.lower()).strip()


def as_typed(question: str, rng: Random) -> str:
    """People write questions with and without capitals and question marks."""
    ended = question if question.endswith(("?", "!", ".", ":")) else question + _ending(question)
    style = rng.random()
    if style < 0.66:
        return capitalised(ended)
    if style < 0.78:
        return capitalised(ended.rstrip("?.!"))
    if style < 0.9:
        return ended
    return ended.rstrip("?.!")


_QUESTION_STARTS = (
    "what", "who", "when", "where", "why", "how", "which", "do ", "does", "did", "can", "could",
    "is ", "are", "will", "would", "may", "should", "have", "has", "at what", "on which",
    "in which", "from when", "until when", "am ", "by when", "to which", "as what",
)  # fmt: skip


def _ending(question: str) -> str:
    last_sentence = re.split(r"[.!?:] ", question)[-1]
    return "?" if last_sentence.lower().startswith(_QUESTION_STARTS) else "."
