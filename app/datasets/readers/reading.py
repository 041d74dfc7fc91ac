"""One way to read records, whatever the format."""

from collections.abc import Callable, Iterator
from typing import Final

from app.datasets.readers import delimited, json_records, markdown, plain_text, spreadsheet
from app.datasets.readers.records import FileFormat, Item, Plan
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


def read_items(source: Source, plan: Plan) -> Iterator[Item]:
    return _READERS[plan.format](source, plan)
