"""Tables as text: CSV and TSV with any of the usual delimiters."""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

from app.datasets.readers.columns import has_known_names, known_names, rows_above_names
from app.datasets.readers.limits import (
    MAX_LINE_CHARACTERS,
    MAX_RECORD_LINES,
    MAX_UNCLOSED_QUOTES,
)
from app.datasets.readers.records import (
    FileFormat,
    Item,
    LeftOut,
    Plan,
    Reason,
    Record,
    shortened,
)
from app.datasets.readers.surplus import with_surplus
from app.datasets.readers.text_stream import Line, Source, bounded_lines, tidied

DELIMITERS: Final = (",", ";", "\t", "|")
# Sent after the last line: if it comes back inside a cell, a quotation mark was never closed.
_END: Final = "\x00end of the file\x00"
# Inside a quoted cell; where a cell ends, a path of Windows may have the backslash.
_ESCAPED_QUOTE: Final = re.compile(r'"[^"\n]*\\"(?=[^",;|\t\r\n])')
_DOUBLED_QUOTE: Final = re.compile(r'[^,;|\t\r\n]""(?=[^,;|\t\r\n])')
_BACKSLASH: Final = re.compile(r'(\\[\\"\n])|\\')


class _UnclosedQuoteError(Exception):
    """A record runs on over more lines than any cell has."""


class _LineTooLongError(Exception):
    """A single line is longer than the limit."""


class _Feed:
    """Hands lines to the csv module and remembers those of the record being read."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._ended = False
        self.record: list[Line] = []
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            if self._ended:
                raise StopIteration
            self._ended = True
            return _END
        self.record.append(line)
        self._characters += len(line.text)
        if not line.is_whole:
            raise _LineTooLongError
        if self._characters > MAX_LINE_CHARACTERS or len(self.record) > MAX_RECORD_LINES:
            raise _UnclosedQuoteError
        return tidied(line.text)

    def begin_record(self) -> None:
        self.record.clear()
        self._characters = 0

    def read_again(self, lines: list[Line]) -> None:
        self._again.extendleft(reversed(lines))
        self._ended = False


def read_cells(source: Source, plan: Plan) -> Iterator[tuple[int, list[str]] | LeftOut]:
    """Yield every record's row number and cells, column names included."""
    csv.field_size_limit(2 * MAX_LINE_CHARACTERS)
    with source.open_text(plan.encoding, newline=plan.newline) as stream:
        feed = _Feed(bounded_lines(stream, MAX_LINE_CHARACTERS))
        reader = _new_reader(feed, plan)
        row, unclosed = 0, 0
        while unclosed <= MAX_UNCLOSED_QUOTES:
            row += 1
            feed.begin_record()
            try:
                cells = next(reader)
                if cells and cells[-1].endswith(_END):
                    if len(cells) == 1 and cells[0] == _END:
                        return
                    raise _UnclosedQuoteError
            except _LineTooLongError:
                yield from _left_out_before(feed, row)
                row += len(feed.record) - 1
                yield LeftOut(row, shortened(feed.record[-1].text), Reason.LINE_TOO_LONG)
                reader = _new_reader(feed, plan)
            except _UnclosedQuoteError:
                unclosed += 1
                yield LeftOut(row, shortened(feed.record[0].text), Reason.UNCLOSED_QUOTE)
                feed.read_again(feed.record[1:])
                reader = _new_reader(feed, plan)
            else:
                yield row, cells
        yield LeftOut(row, "", Reason.TOO_MANY_QUOTES)


def read(source: Source, plan: Plan) -> Iterator[Item]:
    width = len(plan.columns)
    above = plan.rows_above + plan.has_header
    for item in read_cells(source, plan):
        if isinstance(item, LeftOut):
            yield item
            continue
        row, cells = item
        if not cells:
            continue
        if above and any(cell.strip() for cell in cells):
            above -= 1
            continue
        if len(cells) > width:
            cells = with_surplus(cells, plan)
        if any(cell.strip() for cell in cells[width:]):
            yield LeftOut(row, shortened(plan.delimiter.join(cells)), Reason.TOO_MANY_CELLS)
            continue
        yield Record(row, cells[:width] + [""] * (width - len(cells)))


def find_table(head: str) -> tuple[Plan, list[list[str]]] | None:
    """Return how to read the text as a regular table, with its first rows; None if it is none.

    A delimiter is believed if it stands between two or more names that people give to columns,
    however damaged the rows below are; or if at least eight of ten rows have the same number of
    cells. Commas and semicolons that are followed by blanks nearly everywhere belong to sentences.
    """
    best: tuple[int, float, int, Plan, list[list[str]]] | None = None
    escapes = _escapes_quotes(head)
    for delimiter in DELIMITERS:
        blanks = _has_blanks_after(head, delimiter)
        plan = Plan(
            FileFormat.DELIMITED,
            delimiter=delimiter,
            blanks_after_delimiter=blanks,
            escapes_quotes=escapes,
        )
        rows = _rows_of(head, plan)
        if not rows:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        share = count / len(rows)
        names = 0 if _is_markdown_table(rows, delimiter) else _names_in(rows)
        is_regular = width >= 2 and share >= 0.8 and not _is_something_else(rows, delimiter)
        if not (is_regular or names >= 2):
            continue
        if best is None or (names, share, width) > best[:3]:
            best = (names, share, width, plan, rows)
    return None if best is None else (best[3], best[4])


def _names_in(rows: list[list[str]]) -> int:
    """Return how many known names the row of column names holds, if they are enough to be sure."""
    return known_names(rows[rows_above_names(rows)]) if has_known_names(rows) else 0


def _has_blanks_after(head: str, delimiter: str) -> bool:
    """Say whether quoted cells stand after a blank, as in `one, "two, three"`."""
    return delimiter != "\t" and head.count(f'{delimiter} "') > head.count(f'{delimiter}"')


def _escapes_quotes(head: str) -> bool:
    """Say whether quotation marks inside quoted cells have backslashes before them.

    A table that doubles them instead has none that goes on so after a backslash.
    """
    escaped = len(_ESCAPED_QUOTE.findall(head))
    return escaped > len(_DOUBLED_QUOTE.findall(head))


def _rows_of(head: str, plan: Plan) -> list[list[str]]:
    lines = head.splitlines(keepends=True)[:400]
    together = _parsed(lines, plan)
    # A quotation mark that is never closed swallows all lines after it, but no line alone.
    alone = [row for line in lines for row in _parsed([line], plan)]
    return max(together, alone, key=_regularity)


def _parsed(lines: list[str], plan: Plan) -> list[list[str]]:
    try:
        rows = list(_new_reader(iter(lines), plan))
    except csv.Error:
        return []
    return [row for row in rows if any(cell.strip() for cell in row)]


def _regularity(rows: list[list[str]]) -> float:
    return Counter(map(len, rows)).most_common(1)[0][1] / len(rows) if len(rows) > 1 else 0.0


def _is_markdown_table(rows: list[list[str]], delimiter: str) -> bool:
    return delimiter == "|" and sum(not row[0].strip() for row in rows) > 0.5 * len(rows)


def _is_something_else(rows: list[list[str]], delimiter: str) -> bool:
    """Recognise sentences, and the tables of Markdown, whose rows begin with their delimiter."""
    if delimiter == "|":
        return _is_markdown_table(rows, delimiter)
    if delimiter not in ",;":
        return False
    following = [cell for row in rows for cell in row[1:] if cell]
    with_blank = sum(cell.startswith(" ") for cell in following)
    return bool(following) and with_blank > 0.9 * len(following)


def _left_out_before(feed: _Feed, row: int) -> Iterator[LeftOut]:
    for offset, line in enumerate(feed.record[:-1]):
        yield LeftOut(row + offset, shortened(line.text), Reason.UNCLOSED_QUOTE)


def _new_reader(lines: Iterator[str], plan: Plan) -> Iterator[list[str]]:
    if plan.escapes_quotes:
        lines = map(_with_backslashes_kept, lines)
    return csv.reader(
        lines,
        delimiter=plan.delimiter,
        skipinitialspace=plan.blanks_after_delimiter,
        escapechar="\\" if plan.escapes_quotes else None,
    )


def _with_backslashes_kept(line: str) -> str:
    """Double the backslashes that escape nothing, such as those of a path: they are text."""
    return _BACKSLASH.sub(lambda found: found.group(1) or r"\\", line)
