"""What an example is made of, and what a training can learn from it.

Five shapes of examples come in; a training reads them for one purpose, as lines of one form. The
same example may serve several purposes: the better of two answers is also simply an answer.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

Turn = dict[str, str]
Line = dict[str, Any]

MOST_KINDS: Final = 1_000
MOST_GUESSED_KINDS: Final = 200
LONGEST_KIND: Final = 80
"""Longer answers are no names of kinds, however often they come again."""


class Shape(StrEnum):
    ANSWER = "answer"
    """A question and the answer to it, with or without what was said before."""
    PASSAGE = "passage"
    """A text that is learned as a whole."""
    PAIR = "pair"
    """A question with two answers, of which people prefer the first."""
    THUMB = "thumb"
    """A question and an answer, with the thumb that somebody gave it."""
    LABEL = "label"
    """A text and the name of the kind that it belongs to."""


class Purpose(StrEnum):
    """What the lines of a training's snapshot are for."""

    ANSWERS = "answers"
    TEXTS = "texts"
    PAIRS = "pairs"
    THUMBS = "thumbs"
    KINDS = "kinds"


class ExampleTexts(Protocol):
    """The texts of an example in the database, whether read as a row or as an object."""

    @property
    def id(self) -> int: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def instructions(self) -> str: ...
    @property
    def earlier_turns(self) -> list[Turn] | None: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def rejected(self) -> str: ...
    @property
    def is_liked(self) -> bool | None: ...


def shapes_for(purpose: Purpose, counts: Mapping[Shape, int]) -> frozenset[Shape]:
    """Return the shapes that serve a purpose, where so many examples of each are there.

    Where nothing was said to be a kind, answers that come again and again are taken for kinds.
    """
    match purpose:
        case Purpose.ANSWERS:
            return frozenset(Shape)
        case Purpose.TEXTS:
            return frozenset({Shape.PASSAGE})
        case Purpose.PAIRS:
            return frozenset({Shape.PAIR})
        case Purpose.THUMBS:
            return frozenset({Shape.THUMB, Shape.PAIR})
        case Purpose.KINDS:
            return frozenset({Shape.LABEL if counts.get(Shape.LABEL) else Shape.ANSWER})


def lines_for(example: ExampleTexts, purpose: Purpose) -> list[Line]:
    """Return an example as a training for this purpose reads it; empty if it does not serve it."""
    match purpose:
        case Purpose.ANSWERS:
            return _answer_lines(example)
        case Purpose.TEXTS:
            return [_passage(example)] if example.shape == Shape.PASSAGE else []
        case Purpose.PAIRS:
            return [_pair(example)] if example.shape == Shape.PAIR else []
        case Purpose.THUMBS:
            return _thumb_lines(example)
        case Purpose.KINDS:
            is_kind = example.shape in {Shape.LABEL, Shape.ANSWER}
            line = {"id": example.id, "text": example.question, "kind": example.answer}
            return [line] if is_kind else []


STRATIFIED: Final = frozenset({Purpose.KINDS, Purpose.THUMBS})
"""Purposes for which the held-out part is drawn from each group of examples."""


def stratum_of(example: ExampleTexts, purpose: Purpose) -> str:
    """Return the group of which the held-out part should have its share; "" where all are alike."""
    if purpose is Purpose.KINDS:
        return example.answer
    if purpose is Purpose.THUMBS and example.shape == Shape.THUMB:
        return "up" if example.is_liked else "down"
    return ""


def prompt_of(example: ExampleTexts) -> list[Turn]:
    """Return all that is said before the answer."""
    messages = list(example.earlier_turns or ())
    if example.instructions:
        messages.insert(0, {"role": "system", "content": example.instructions})
    return [*messages, {"role": "user", "content": example.question}]


def _answer_lines(example: ExampleTexts) -> list[Line]:
    if example.shape == Shape.PASSAGE:
        return [_passage(example)]
    if example.shape == Shape.THUMB and not example.is_liked:
        return []
    answer = {"role": "assistant", "content": example.answer}
    return [{"id": example.id, "messages": [*prompt_of(example), answer]}]


def _passage(example: ExampleTexts) -> Line:
    return {"id": example.id, "text": example.answer}


def _pair(example: ExampleTexts) -> Line:
    return {
        "id": example.id,
        "prompt": prompt_of(example),
        "chosen": example.answer,
        "rejected": example.rejected,
    }


def _thumb_lines(example: ExampleTexts) -> list[Line]:
    if example.shape == Shape.THUMB:
        return [_thumb(example, example.answer, is_liked=bool(example.is_liked))]
    if example.shape == Shape.PAIR:
        # The two answers of a pair are a thumb up and a thumb down.
        return [
            _thumb(example, example.answer, is_liked=True),
            _thumb(example, example.rejected, is_liked=False),
        ]
    return []


def _thumb(example: ExampleTexts, answer: str, *, is_liked: bool) -> Line:
    prompt = prompt_of(example)
    return {"id": example.id, "prompt": prompt, "answer": answer, "liked": is_liked}
