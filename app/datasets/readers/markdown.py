"""Markdown: a passage for each section."""

import re
from collections.abc import Iterator
from typing import Final

from app.datasets.readers.limits import PASSAGE_CHARACTERS
from app.datasets.readers.passages import split_passage
from app.datasets.readers.records import Item, Plan, Record
from app.datasets.readers.text_stream import Source

_LINE_CHARACTERS: Final = 64 * 1024
_BLOCK_CHARACTERS: Final = 16 * PASSAGE_CHARACTERS
_HEADING: Final = re.compile(r"#{1,6}[ \t]+\S")
_FRONT_MATTER: Final = re.compile(r"[\w-]+[ \t]*:|[ \t#-]|\s*$")
_FENCE: Final = re.compile(r"\s{0,3}(?:```|~~~)")


def is_markdown(head: str) -> bool:
    """Say whether the text has headings as Markdown writes them."""
    fenced, headings = False, 0
    for line in head.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        headings += not fenced and _HEADING.match(line) is not None
    return headings >= 1


def read(source: Source, plan: Plan) -> Iterator[Item]:
    """Yield [passage] records. A `#` inside a fenced block is a comment of code, no heading."""
    with source.open_text(plan.encoding) as stream:
        start, held, number = 1, "", 0
        fenced = in_front_matter = False
        while text := stream.readline(_LINE_CHARACTERS):
            number += 1
            if text.strip() == "---" and (number == 1 or in_front_matter):
                in_front_matter = number == 1
                continue
            in_front_matter = in_front_matter and _FRONT_MATTER.match(text) is not None
            if in_front_matter:
                continue
            if _FENCE.match(text):
                fenced = not fenced
            if not fenced and _HEADING.match(text):
                if _has_body(held):
                    yield Record(start, [held.strip()])
                    held = ""
                start = start if held else number
            held += text
            if len(held) > _BLOCK_CHARACTERS:
                *done, held = split_passage(held)
                yield from (Record(start, [piece]) for piece in done)
                start = number
        if held.strip():
            yield Record(start, [held.strip()])


def _has_body(section: str) -> bool:
    """A heading right below a heading makes no section of its own."""
    return any(line.strip() and not _HEADING.match(line) for line in section.splitlines())
