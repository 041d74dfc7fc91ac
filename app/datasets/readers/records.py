"""What readers give: records of a file, and the places where a file could not be read."""

import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class FileFormat(StrEnum):
    DELIMITED = "delimited"
    SPREADSHEET = "spreadsheet"
    JSON = "json"
    JSON_LINES = "json_lines"
    TEXT = "text"
    PAIRS = "pairs"
    MARKDOWN = "markdown"


class ColumnRole(StrEnum):
    """What a column is for. Columns with the same role are joined in their order."""

    QUESTION = "question"
    ANSWER = "answer"
    INSTRUCTIONS = "instructions"
    PASSAGE = "passage"
    CONVERSATION = "conversation"
    EARLIER = "earlier"
    REJECTED = "rejected"
    """An answer to the question that people like less than the one beside it."""
    THUMB = "thumb"
    """Whether people liked the answer."""
    KIND = "kind"
    """The kind that the question, or text, belongs to."""
    IGNORE = "ignore"


class Reason(StrEnum):
    """Why a row was left out; app/datasets/wording.py has the sentences."""

    EMPTY_ROW = "empty_row"
    """No column of it holds anything."""
    NOTHING_CHOSEN = "nothing_chosen"
    """What it holds stands in columns that are left out, or under names that are no columns."""
    EMPTY_QUESTION = "empty_question"
    EMPTY_ANSWER = "empty_answer"
    NO_QUESTION = "no_question"
    NO_ANSWER = "no_answer"
    NOT_A_CONVERSATION = "not_a_conversation"
    NOT_TO_BE_LEARNED = "not_to_be_learned"
    USES_TOOLS = "uses_tools"
    USES_PICTURES = "uses_pictures"
    TOO_LONG = "too_long"
    LINE_TOO_LONG = "line_too_long"
    BROKEN_CHARACTER = "broken_character"
    UNCLOSED_QUOTE = "unclosed_quote"
    TOO_MANY_QUOTES = "too_many_quotes"
    TOO_MANY_CELLS = "too_many_cells"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    COLUMN_NAMES = "column_names"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    FILE_ENDS_INSIDE = "file_ends_inside"
    EMPTY_KIND = "empty_kind"
    LONG_KIND = "long_kind"
    NO_SECOND_ANSWER = "no_second_answer"
    SAME_ANSWERS = "same_answers"
    DIFFERENT_QUESTIONS = "different_questions"
    NO_THUMB = "no_thumb"
    EXACT_COPY = "exact_copy"


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its number as a spreadsheet counts, and a value for each column of the plan."""

    row: int
    values: list[Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    row: int
    value: str
    reason: Reason


Item = Record | LeftOut


class Surplus(StrEnum):
    """Whose the cells are that a row has beyond the names of the columns."""

    NOBODYS = "nobodys"
    """The row is damaged and left out."""
    OF_UNNAMED = "of_unnamed"
    """Of columns without a name, which get one."""
    OF_TEXTS = "of_texts"
    """Of the texts in the row: in them stands the delimiter too, before a blank."""
    OF_LAST = "of_last"
    """Of the last column: in its text stands the delimiter too."""


@dataclass(slots=True)
class Plan:
    """How a file is to be read, as the inspection found out. Plain data, kept with the import."""

    format: FileFormat
    encoding: str = "utf-8"
    delimiter: str = ","
    blanks_after_delimiter: bool = False
    escapes_quotes: bool = False
    """Whether a quotation mark inside a text has a backslash before it, as databases write it."""
    surplus: Surplus = Surplus.NOBODYS
    newline: str = "\n"
    """What ends a row of a table; a carriage return alone in files from old Macs."""
    rows_above: int = 0
    """Filled rows above the column names that are no examples: a title, a date."""
    has_header: bool = True
    columns: list[str] = field(default_factory=list)
    sheet: int = 0
    list_name: str = ""
    """A member of a JSON object whose lists hold the rows; empty if the list is the file."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        # Plans of earlier uploads lack what readers have learned since.
        surplus = Surplus(data.get("surplus", Surplus.NOBODYS))
        return cls(**{**data, "format": FileFormat(data["format"]), "surplus": surplus})


def shortened(value: object, limit: int = 200) -> str:
    """The beginning of a value, on one line, fit to be shown."""
    text = value if isinstance(value, str) else str(value)
    clean = " ".join(without_lone_surrogates(text[: limit * 2]).replace("\x00", " ").split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def without_lone_surrogates(text: str) -> str:
    """A text that can be written as UTF-8; what cannot becomes the sign for a damaged character."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)
