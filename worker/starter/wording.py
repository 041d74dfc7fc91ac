"""Templates of the practice text: `(one|two|)` chooses, `{slot}` fills in.

A template is parsed once and kept, because one line is used thousands of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from random import Random

Fill = Callable[[str], str]

_MARKS = re.compile(r"[(|)]|\{[^}]*\}")
_SPACES = re.compile(r" {2,}")
_SPACE_BEFORE_MARK = re.compile(r" +([.,!?;:])(?=\s|$)")
_VOWEL_START = re.compile(r"^(?:[aeio]|u(?!s|ni))", re.IGNORECASE)


class Slot:
    """A named gap in a template, such as `{person}` or `{a:thing}`."""

    def __init__(self, text: str) -> None:
        form, separator, name = text.partition(":")
        self.form = form if separator else ""
        self.name = name if separator else form

    def render(self, _rng: Random, fill: Fill) -> str:
        value = fill(self.name)
        return with_article(value) if self.form == "a" else value


class Choice:
    """Alternatives, of which each use takes one."""

    def __init__(self, options: tuple[Sequence, ...]) -> None:
        self.options = options

    def render(self, rng: Random, fill: Fill) -> str:
        option = self.options[int(rng.random() * len(self.options))]
        return option.render(rng, fill)


class Sequence:
    """Parts that follow each other."""

    def __init__(self, parts: tuple[str | Slot | Choice, ...]) -> None:
        self.parts = parts

    def render(self, rng: Random, fill: Fill) -> str:
        return "".join(
            part if isinstance(part, str) else part.render(rng, fill) for part in self.parts
        )


def with_article(noun: str) -> str:
    return f"an {noun}" if _VOWEL_START.match(noun) else f"a {noun}"


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def expand(template: str, rng: Random, fill: Fill) -> str:
    """Choose and fill; the blanks that empty choices leave behind are removed."""
    text = _parse(template).render(rng, fill)
    return _SPACE_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip()


@cache
def _parse(template: str) -> Sequence:
    tokens = _tokens(template)
    sequence, position = _parse_sequence(tokens, 0, nested=False)
    if position != len(tokens):
        raise ValueError(f"A bracket closes too early in the template: {template!r}")
    return sequence


def _tokens(template: str) -> list[str]:
    tokens: list[str] = []
    end = 0
    for match in _MARKS.finditer(template):
        if match.start() > end:
            tokens.append(template[end : match.start()])
        tokens.append(match.group())
        end = match.end()
    if end < len(template):
        tokens.append(template[end:])
    return tokens


def _parse_sequence(tokens: list[str], position: int, *, nested: bool) -> tuple[Sequence, int]:
    parts: list[str | Slot | Choice] = []
    while position < len(tokens):
        mark = tokens[position]
        if mark == "(":
            choice, position = _parse_choice(tokens, position + 1)
            parts.append(choice)
            continue
        if mark in ("|", ")") and nested:
            break
        if mark == ")":
            break
        parts.append(Slot(mark[1:-1]) if mark.startswith("{") else mark)
        position += 1
    return Sequence(tuple(parts)), position


def _parse_choice(tokens: list[str], position: int) -> tuple[Choice, int]:
    options: list[Sequence] = []
    while position < len(tokens):
        option, position = _parse_sequence(tokens, position, nested=True)
        options.append(option)
        if position >= len(tokens):
            break
        closing = tokens[position] == ")"
        position += 1
        if closing:
            return Choice(tuple(options)), position
    raise ValueError(f"A bracket is not closed in the template: {''.join(tokens)!r}")
