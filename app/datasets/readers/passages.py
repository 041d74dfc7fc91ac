"""Texts to learn as a whole, in pieces that a model can read at once."""

import re
from collections.abc import Iterator
from typing import Final

from app.datasets.readers.limits import PASSAGE_CHARACTERS

_PARAGRAPH_END: Final = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_BLANK: Final = re.compile(r"\s+")


def split_passage(text: str, limit: int = PASSAGE_CHARACTERS) -> list[str]:
    """Split a long text at paragraphs, else sentences, else words, into pieces of the limit."""
    text = text.strip()
    if len(text) <= limit:
        return [text] if text else []
    pieces: list[str] = []
    held = ""
    for part in _parts(text, limit):
        if held and len(held) + len(part) > limit:
            pieces.append(held.strip())
            held = ""
        held += part
    pieces.append(held.strip())
    return [piece for piece in pieces if piece]


def _parts(text: str, limit: int) -> Iterator[str]:
    """Yield parts no longer than the limit, with the blanks that follow them."""
    for paragraph in _cut_after(_PARAGRAPH_END, text):
        if len(paragraph) <= limit:
            yield paragraph
            continue
        for sentence in _cut_after(_SENTENCE_END, paragraph):
            if len(sentence) <= limit:
                yield sentence
            else:
                yield from _words(sentence, limit)


def _words(sentence: str, limit: int) -> Iterator[str]:
    for word in _cut_after(_BLANK, sentence):
        for start in range(0, len(word), limit):
            yield word[start : start + limit]


def _cut_after(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    start = 0
    for found in pattern.finditer(text):
        if found.end() > start:
            yield text[start : found.end()]
            start = found.end()
    if start < len(text):
        yield text[start:]
