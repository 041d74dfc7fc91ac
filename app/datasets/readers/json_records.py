"""JSON: one list of objects, objects one after another, or JSON Lines."""

import re
from collections.abc import Iterator
from typing import Any, Final

from app.datasets.readers.column_names import is_known_name
from app.datasets.readers.json_stream import (
    BrokenValueError,
    EndsInsideError,
    JsonStream,
    parse,
)
from app.datasets.readers.limits import MAX_COLUMNS, MAX_JSON_CHARACTERS
from app.datasets.readers.records import FileFormat, Item, LeftOut, Plan, Reason, Record, shortened
from app.datasets.readers.text_stream import Line, Source, bounded_lines

Object = dict[str, Any]
_LIST_MEMBER: Final = re.compile(r'"([^"\\]{1,80})"\s*:\s*\[\s*\{')
_TURN_LISTS: Final = frozenset(
    {"messages", "conversations", "conversation", "turns", "dialog", "prompt", "completion"}
    | {"chosen", "rejected", "preferred_output", "non_preferred_output"}
)
_ROWS_FOR_COLUMNS: Final = 1_000


def find_list_name(head: str) -> str:
    """Return the member of an object that holds the rows, as in {"data": [{…}, …]}."""
    if not head.lstrip("\ufeff \t\r\n").startswith("{"):
        return ""
    found = _LIST_MEMBER.search(head)
    return found.group(1) if found and found.group(1).lower() not in _TURN_LISTS else ""


def read_objects(source: Source, plan: Plan) -> Iterator[tuple[int, Object] | LeftOut]:
    """Yield every object with its row number."""
    if plan.format is FileFormat.JSON_LINES:
        yield from _read_lines(source, plan)
    else:
        yield from _read_values(source, plan)


def read(source: Source, plan: Plan) -> Iterator[Item]:
    for item in read_objects(source, plan):
        if isinstance(item, LeftOut):
            yield item
        else:
            row, values = item
            yield Record(row, [values.get(column) for column in plan.columns])


def find_columns(source: Source, plan: Plan) -> list[str]:
    """Return the names that the first thousand objects use, in the order of appearance."""
    names: dict[str, None] = {}
    for count, item in enumerate(read_objects(source, plan)):
        if not isinstance(item, LeftOut):
            names.update(dict.fromkeys(item[1]))
        if count >= _ROWS_FOR_COLUMNS or len(names) >= MAX_COLUMNS:
            break
    return list(names)[:MAX_COLUMNS]


def _read_values(source: Source, plan: Plan) -> Iterator[tuple[int, Object] | LeftOut]:
    with source.open_text(plan.encoding) as stream:
        values = JsonStream(stream)
        closing = ""
        if plan.list_name:
            found = _rows_of_members(values)
        else:
            if values.peek() == "[":
                values.pass_one()
                closing = "]"
            found = values.items(closing)
        for row, value in enumerate(found, start=1):
            if isinstance(value, EndsInsideError):
                yield LeftOut(row, shortened(value.beginning), Reason.FILE_ENDS_INSIDE)
            elif isinstance(value, BrokenValueError):
                yield _broken(row, value)
            else:
                yield _as_object(row, value)


def _rows_of_members(values: JsonStream) -> Iterator[Any]:
    """Yield what stands in all lists of objects that are members of the object that begins here.

    Where the text ends too early, the EndsInsideError itself is yielded.
    """
    values.pass_over("{")
    try:
        while values.peek() == '"':
            member = values.value()
            values.pass_over(":")
            if values.peek() == "[":
                values.pass_one()
                if values.peek() == "{" and str(member).lower() not in _TURN_LISTS:
                    yield from values.items()
                # A bracket of the wrong kind ends the list too: skipping would stand still at it.
                while values.peek() not in ("]", "}", ""):
                    values.skip_value()
                    values.pass_over(",")
                values.pass_one()
            else:
                values.skip_value()
            values.pass_over(",")
    except BrokenValueError as broken:
        yield EndsInsideError(broken.beginning)
    except EndsInsideError as ends:
        yield ends


def _read_lines(source: Source, plan: Plan) -> Iterator[tuple[int, Object] | LeftOut]:
    with source.open_text(plan.encoding) as stream:
        for line in bounded_lines(stream, MAX_JSON_CHARACTERS):
            if not line.is_whole:
                yield LeftOut(line.number, shortened(line.text), Reason.LINE_TOO_LONG)
            elif line.text.strip("\ufeff \t\r\n\x00"):
                yield _parse_line(line)


def _parse_line(line: Line) -> tuple[int, Object] | LeftOut:
    try:
        return _as_object(line.number, parse(line.text))
    except BrokenValueError as broken:
        if not line.text.endswith(("\n", "\r", "}")) and line.text.startswith("{"):
            return LeftOut(line.number, shortened(line.text), Reason.FILE_ENDS_INSIDE)
        return _broken(line.number, broken)


def _as_object(row: int, value: object) -> tuple[int, Object] | LeftOut:
    if isinstance(value, dict):
        return row, value
    if isinstance(value, str):
        return row, {"text": value}
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return row, {"messages": value}
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        if all(map(is_known_name, value)):
            return LeftOut(row, shortened(", ".join(value)), Reason.COLUMN_NAMES)
        return row, {"question": value[0], "answer": value[1]}
    return LeftOut(row, shortened(value), Reason.NOT_AN_OBJECT)


def _broken(row: int, broken: BrokenValueError) -> LeftOut:
    reason = Reason.NOT_JSON
    if broken.is_too_long:
        reason = Reason.TOO_LONG
    elif broken.too_deep:
        reason = Reason.NESTED_TOO_DEEPLY
    return LeftOut(row, shortened(broken.beginning), reason)
