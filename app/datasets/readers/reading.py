"""One way to read records, whatever the format."""

from collections.abc import Callable, Iterator
from typing import Final

from app.datasets.readers import delimited, json_records, markdown, plain_text, spreadsheet
from app.datasets.readers.column_names import meaning_of
from app.datasets.readers.conversations import unpacked
from app.datasets.readers.records import ColumnRole, FileFormat, Item, Plan, Record
from app.datasets.readers.text_stream import Source

_READERS: Final[dict[FileFormat, Callable[[Source, Plan], Iterator[Item]]]] = {
    FileFormat.DELIMITED: delimited.read,
    FileFormat.SPREADSHEET: spreadsheet.read,
    FileFormat.JSON: json_records.read,
    FileFormat.JSON_LINES: json_records.read,
    FileFormat.TEXT: plain_text.read_passages,
    FileFormat.PAIRS: plain_text.read_pairs,
    FileFormat.MARKDOWN: markdown.read,
}

_JSON: Final = frozenset({FileFormat.JSON, FileFormat.JSON_LINES})


def read_items(source: Source, plan: Plan) -> Iterator[Item]:
    return _with_conversations(_READERS[plan.format](source, plan), plan.columns)


def read_finding_columns(source: Source, plan: Plan) -> Iterator[Item]:
    """Read a file whose columns may not be known yet: names that come up are added to the plan's.

    A record has a value for each column that was known when it was read.
    """
    if plan.format not in _JSON:
        return read_items(source, plan)
    return _with_conversations(json_records.read_finding_columns(source, plan), plan.columns)


def _with_conversations(items: Iterator[Item], columns: list[str]) -> Iterator[Item]:
    """Take conversations for what they are where a table or an export holds them as JSON text."""
    known, places = 0, list[int]()
    for item in items:
        if known < len(columns):
            known = len(columns)
            places = [
                place
                for place, name in enumerate(columns)
                if meaning_of(name).group == ColumnRole.CONVERSATION
            ]
        if isinstance(item, Record):
            for place in places:
                item.values[place] = unpacked(item.values[place])
        yield item
