"""What each column is for: proposed, shown with real rows, checked."""

from dataclasses import dataclass
from typing import Any

from app.datasets.errors import UnusableMappingError
from app.datasets.readers.conversations import NoExampleError
from app.datasets.readers.drafts import Mapping
from app.datasets.readers.html_text import text_of_html
from app.datasets.readers.preferences import read_thumb
from app.datasets.readers.records import ColumnRole, FileFormat

_TABLES = frozenset({FileFormat.DELIMITED, FileFormat.SPREADSHEET})


@dataclass(frozen=True)
class PreviewExample:
    """How one row of the preview reads as an example; long texts are shortened."""

    row: int
    instructions: str
    question: str
    answer: str
    rejected: str = ""
    kind: str = ""
    thumb: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        turns = [("system", self.instructions), ("user", self.question)]
        messages = [{"role": role, "content": text} for role, text in turns if text]
        return [*messages, {"role": "assistant", "content": self.answer or "–"}]

    @property
    def thumb_words(self) -> str:
        """How the thumb of the row is understood."""
        try:
            return "Thumb up" if read_thumb(self.thumb) else "Thumb down"
        except NoExampleError:
            return f"Neither up nor down: {self.thumb}"


def is_table(understood: dict[str, Any]) -> bool:
    return understood["format"] in _TABLES


def proposed_mapping(understood: dict[str, Any]) -> Mapping:
    roles = [ColumnRole(column["role"]) for column in understood["columns"]]
    return Mapping(roles, bool(understood["plan"]["has_header"]))


def offered_roles(understood: dict[str, Any]) -> list[ColumnRole]:
    """Return the roles that make sense for this file; turns only where there are any."""
    offered = [
        *(ColumnRole.QUESTION, ColumnRole.ANSWER, ColumnRole.INSTRUCTIONS, ColumnRole.PASSAGE),
        *(ColumnRole.KIND, ColumnRole.REJECTED, ColumnRole.THUMB),
    ]
    proposed = {column["role"] for column in understood["columns"]}
    offered += [role for role in (ColumnRole.CONVERSATION, ColumnRole.EARLIER) if role in proposed]
    return [*offered, ColumnRole.IGNORE]


def check_mapping(understood: dict[str, Any], mapping: Mapping) -> None:
    """Raise UnusableMappingError unless examples can be made with it."""
    if len(mapping.roles) != len(understood["columns"]):
        raise UnusableMappingError(
            "The choice does not fit the columns of this file.",
            "Reload the page and choose again.",
        )
    used = set(mapping.roles) - {ColumnRole.IGNORE, ColumnRole.INSTRUCTIONS}
    if not used:
        raise UnusableMappingError(
            "Every column is left out.",
            "Say which column holds the questions and which the answers.",
        )
    if ColumnRole.PASSAGE in used and len(used) > 1:
        raise UnusableMappingError(
            "A text to learn as a whole cannot be mixed with questions and answers in one file.",
            "Choose either a question and an answer, or a text, and leave out the rest.",
        )
    if mapping.roles.count(ColumnRole.CONVERSATION) > 1:
        raise UnusableMappingError(
            "Two columns are conversations.", "Choose one of them and leave out the other."
        )
    _check_judgements(used)
    if ColumnRole.KIND in used and ColumnRole.QUESTION in used:
        return
    if (
        ColumnRole.REJECTED in used
        and ColumnRole.ANSWER in used
        and _has_turns(understood, mapping)
    ):
        # Both answers are whole conversations, so the question stands in them.
        return
    has_pairs = bool(used & {ColumnRole.QUESTION, ColumnRole.ANSWER})
    if used & {ColumnRole.PASSAGE, ColumnRole.CONVERSATION} and not has_pairs:
        return
    for role, name in ((ColumnRole.QUESTION, "questions"), (ColumnRole.ANSWER, "answers")):
        if role not in used:
            raise UnusableMappingError(
                f"No column holds the {name}.",
                f"Say which column holds the {name}; or choose “Text to learn as a whole” for "
                "texts without questions.",
            )


def _check_judgements(used: set[ColumnRole]) -> None:
    """Refuse what would say two things about the same answer."""
    if ColumnRole.KIND in used and used - {ColumnRole.KIND, ColumnRole.QUESTION}:
        raise UnusableMappingError(
            "A text that is sorted into kinds has no answer besides.",
            "Choose “Question” for the text and “Kind, to sort by” for its kind, and leave out the "
            "rest; or choose an answer instead of the kind.",
        )
    if {ColumnRole.REJECTED, ColumnRole.THUMB} <= used:
        raise UnusableMappingError(
            "There is a second answer and a thumb besides.",
            "Choose one of them and leave out the other.",
        )


def _has_turns(understood: dict[str, Any], mapping: Mapping) -> bool:
    return any(
        column.get("holds_turns")
        for column, role in zip(understood["columns"], mapping.roles, strict=True)
        if role is ColumnRole.ANSWER
    )


def preview_examples(understood: dict[str, Any], mapping: Mapping) -> list[PreviewExample]:
    """Show how the first rows read with a mapping."""
    return [
        _preview_example(row["row"], row["cells"], mapping)
        for row in preview_rows(understood, mapping)
    ]


def preview_rows(understood: dict[str, Any], mapping: Mapping) -> list[dict[str, Any]]:
    """Return the first rows; the row of names is one of them if it is no row of names."""
    rows: list[dict[str, Any]] = list(understood["preview"])
    had_header = bool(understood["plan"]["has_header"])
    if is_table(understood) and had_header and not mapping.has_header:
        names = [column["name"] for column in understood["columns"]]
        return [{"row": 1, "cells": names}, *rows]
    if is_table(understood) and mapping.has_header and not had_header:
        return rows[1:]
    return rows


def _preview_example(row: int, cells: list[str], mapping: Mapping) -> PreviewExample:
    texts: dict[ColumnRole, list[str]] = {}
    for role, cell in zip(mapping.roles, cells, strict=False):
        if cell:
            text = text_of_html(cell) if mapping.strips_html else cell
            texts.setdefault(role, []).append(text)
    joined = {role: "\n\n".join(parts) for role, parts in texts.items()}
    whole = joined.get(ColumnRole.PASSAGE) or joined.get(ColumnRole.CONVERSATION, "")
    return PreviewExample(
        row,
        joined.get(ColumnRole.INSTRUCTIONS, ""),
        joined.get(ColumnRole.QUESTION, ""),
        joined.get(ColumnRole.ANSWER, "") or whole,
        joined.get(ColumnRole.REJECTED, ""),
        joined.get(ColumnRole.KIND, ""),
        joined.get(ColumnRole.THUMB, ""),
    )
