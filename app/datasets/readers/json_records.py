"""JSON: one list of objects, objects one after another, or JSON Lines."""

from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any, Final

from app.datasets.readers.column_names import is_known_name, meaning_of
from app.datasets.readers.conversations import holds_speakers
from app.datasets.readers.json_stream import (
    BrokenValueError,
    EndsInsideError,
    JsonStream,
    parse,
)
from app.datasets.readers.limits import MAX_COLUMNS, MAX_JSON_CHARACTERS
from app.datasets.readers.records import (
    ColumnRole,
    FileFormat,
    Item,
    LeftOut,
    Plan,
    Reason,
    Record,
    shortened,
)
from app.datasets.readers.survey import as_text, is_filled
from app.datasets.readers.text_stream import Line, Source, bounded_lines

Object = dict[str, Any]
_OBJECTS: Final = "[{"
_ASKED: Final = frozenset({ColumnRole.QUESTION, "instruction", "further"})
_ANSWERED: Final = frozenset({ColumnRole.ANSWER, "chosen"})
# Names of turns besides those that say that it is a conversation.
_TURN_LISTS: Final = frozenset(
    {"contents", "prompt", "completion", "chosen", "rejected"}
    | {"preferred_output", "non_preferred_output"}
)


def find_list_name(head: str) -> str:
    """Return the first member of an object that holds the rows, as in {"data": [{…}, …]}.

    An object that is itself a row has none, whatever lists belong to it: its sources, its tools.
    It is one if another follows it, or if it holds a question with its answer, or a conversation.
    """
    values = JsonStream(StringIO(head))
    if values.peek() != "{":
        return ""
    found, texts = "", set[str]()
    # The head may end inside of the object; what stands there until then has to do.
    with suppress(BrokenValueError, EndsInsideError):
        for name, begins in _members(values):
            if begins == _OBJECTS:
                if _is_turn_list(name, next(values.items(), None)):
                    return ""
                found = found or name
            elif begins == '"' and name.isalpha():
                # Names of several words may tell of all rows: "prompt_template".
                texts.add(meaning_of(name).group)
    if values.peek() == "}":
        values.pass_one()
        values.pass_over(",")
    is_row = values.peek() == "{" or not (texts.isdisjoint(_ASKED) or texts.isdisjoint(_ANSWERED))
    return "" if is_row else found


def read_objects(source: Source, plan: Plan) -> Iterator[tuple[int, Object] | LeftOut]:
    """Yield every object with its row number."""
    if plan.format is FileFormat.JSON_LINES:
        yield from _read_lines(source, plan)
    else:
        yield from _read_values(source, plan)


def read(source: Source, plan: Plan) -> Iterator[Item]:
    for item in read_objects(source, plan):
        yield item if isinstance(item, LeftOut) else _record(*item, plan.columns)


def read_finding_columns(source: Source, plan: Plan) -> Iterator[Item]:
    """Read it while its columns are being found: each name becomes one where it first appears."""
    known: set[str] = set()
    for item in read_objects(source, plan):
        if isinstance(item, LeftOut):
            yield item
            continue
        row, values = item
        new = [name for name in values if name not in known][: MAX_COLUMNS - len(known)]
        known.update(new)
        plan.columns += new
        yield _record(row, values, plan.columns)


def _record(row: int, values: Object, columns: list[str]) -> Item:
    record = Record(row, [values.get(column) for column in columns])
    if not any(map(is_filled, record.values)) and any(map(is_filled, values.values())):
        # Its names came up too late in the file to be columns.
        return LeftOut(row, shortened(as_text(values)), Reason.NOTHING_CHOSEN)
    return record


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
    try:
        for name, begins in _members(values):
            if begins == _OBJECTS:
                yield from _without_turns(name, values.items())
    except BrokenValueError as broken:
        yield EndsInsideError(broken.beginning)
    except EndsInsideError as ends:
        yield ends


def _members(values: JsonStream) -> Iterator[tuple[str, str]]:
    """Walk over the members of the object that begins here: each name, and how its value begins.

    The items of a list of objects may be read at that moment; what is not read is passed over.
    """
    values.pass_over("{")
    while values.peek() == '"':
        name = str(values.value())
        values.pass_over(":")
        begins = values.peek()
        if begins == "[":
            values.pass_one()
            yield name, _OBJECTS if values.peek() == "{" else begins
            # A bracket of the wrong kind ends the list too: skipping would stand still at it.
            while values.peek() not in ("]", "}", ""):
                values.skip_value()
                values.pass_over(",")
            values.pass_one()
        else:
            yield name, begins
            values.skip_value()
        values.pass_over(",")


def _without_turns(name: str, items: Iterator[Any]) -> Iterator[Any]:
    for place, item in enumerate(items):
        if place == 0 and _is_turn_list(name, item):
            return
        yield item


def _is_turn_list(name: str, first: Any) -> bool:  # noqa: ANN401 (JSON is anything)
    """Say whether a list is the turns of one conversation rather than rows of their own.

    People name both alike: `conversations` may be the turns of one, or one conversation a row.
    """
    is_named = name.lower() in _TURN_LISTS or meaning_of(name).group == ColumnRole.CONVERSATION
    return is_named and (not isinstance(first, dict) or holds_speakers([first]))


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
