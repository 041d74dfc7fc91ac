"""Reads the topic files: plain text that a person can extend without code.

A topic starts with `== name weight`; `?` is a question, `!` an answer, `:` a statement,
`~` the statement in short, and `> question => answer` a pair that belongs together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "topics"


@dataclass
class Topic:
    """What can be asked, answered or told about one thing."""

    name: str
    weight: int = 1
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    short_forms: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)


@cache
def read_topics(file_name: str) -> list[Topic]:
    text = (_FOLDER / file_name).read_text(encoding="utf-8")
    blocks = text.split("\n== ")
    return [_read_topic(block.removeprefix("== "), file_name) for block in blocks]


def _read_topic(block: str, file_name: str) -> Topic:
    header, *lines = block.strip().split("\n")
    name, _, weight = header.partition(" ")
    topic = Topic(name=name, weight=int(weight or 1))
    last: list[str] | None = None
    for line in lines:
        mark, _, content = line.partition(" ")
        lists = {
            "?": topic.questions,
            "!": topic.answers,
            ":": topic.statements,
            "~": topic.short_forms,
        }
        if mark == ">":
            question, separator, answer = content.partition(" => ")
            if not separator:
                raise ValueError(f"{file_name}, topic {name}: no ' => ' in {line!r}")
            topic.pairs.append((question, answer))
        elif mark in lists:
            last = lists[mark]
            last.append(content)
        elif last:
            # A line without a mark goes on with the text above it, such as a list's next entry.
            last[-1] += "\n" + line
    return topic
