"""JSON values out of a text of any length, one at a time, in constant memory."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TextIO

from app.datasets.readers.limits import MAX_JSON_CHARACTERS

_PIECE: Final = 256 * 1024
_BLANKS: Final = re.compile(r"[ \t\r\n\ufeff]*")
_STRUCTURE: Final = re.compile(r'["{}\[\],]')
_STRING_END: Final = re.compile(r'["\\]')

# Numbers stay as they are written: nothing here calculates, and a number of a million digits
# must not keep a processor busy.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class BrokenValueError(Exception):
    """What stands here is no JSON value, or is longer than the limit."""

    def __init__(
        self, beginning: str, *, is_too_long: bool = False, too_deep: bool = False
    ) -> None:
        super().__init__(beginning)
        self.beginning = beginning
        self.is_too_long = is_too_long
        self.too_deep = too_deep


class EndsInsideError(Exception):
    """The text ends in the middle of a value; `beginning` shows where."""

    def __init__(self, beginning: str = "") -> None:
        super().__init__(beginning)
        self.beginning = beginning


def parse(text: str) -> Any:  # noqa: ANN401 (JSON is anything)
    """Parse a whole text as one value.

    Raises:
        BrokenValueError: if it is none.
    """
    try:
        value, end = _decoder.raw_decode(text, _blanks_end(text, 0))
    except RecursionError as error:
        raise BrokenValueError(text[:400], too_deep=True) from error
    except ValueError as error:
        raise BrokenValueError(text[:400]) from error
    if _blanks_end(text, end) != len(text):
        raise BrokenValueError(text[:400])
    return value


class JsonStream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._buffer = ""
        self._position = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is not blank; "" at the end."""
        while True:
            self._position = _blanks_end(self._buffer, self._position)
            if self._position < len(self._buffer):
                return self._buffer[self._position]
            if not self._read_on():
                return ""

    def pass_over(self, characters: str) -> None:
        """Pass over any of these characters, and blanks between them."""
        while (following := self.peek()) and following in characters:
            self._position += 1

    def value(self) -> Any:  # noqa: ANN401 (JSON is anything)
        """Return the value that begins at the next character.

        Raises:
            BrokenValueError: if there is none; `skip_value` passes over it.
        """
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._buffer, self._position)
                if end < len(self._buffer) or self._ended:
                    self._position = end
                    return value
            except RecursionError as error:
                raise BrokenValueError(self.beginning(), too_deep=True) from error
            except ValueError as error:
                if self._ended:
                    raise BrokenValueError(self.beginning()) from error
            held = len(self._buffer) - self._position
            if held > MAX_JSON_CHARACTERS:
                raise BrokenValueError(self.beginning(), is_too_long=True)
            self._read_on(held)

    def skip_value(self) -> None:
        """Pass over a broken value up to the comma or bracket that ends it.

        Raises:
            EndsInsideError: if nothing ends it.
        """
        depth, in_string = 0, False
        while True:
            pattern = _STRING_END if in_string else _STRUCTURE
            found = pattern.search(self._buffer, self._position)
            if found is None:
                self._position = len(self._buffer)
                if not self._read_on():
                    raise EndsInsideError
                continue
            mark = found.group()
            if depth == 0 and not in_string and mark in ",]}":
                self._position = found.start()
                return
            self._position = found.end()
            if mark == "\\":
                self.pass_one()
            elif mark == '"':
                in_string = not in_string
            elif mark in "{[":
                depth += 1
            elif mark in "}]":
                depth -= 1

    def items(self, closing: str = "]") -> Iterator[Any]:
        """Yield the values up to the closing bracket, or to the end if there is none to come.

        A broken value is yielded as the BrokenValueError itself; the end of the text in the
        middle of the list as an EndsInsideError.
        """
        while True:
            self.pass_over(",")
            following = self.peek()
            if following == "":
                if closing:
                    yield EndsInsideError()
                return
            if closing and following == closing:
                return
            try:
                yield self.value()
            except BrokenValueError as broken:
                try:
                    self.skip_value()
                except EndsInsideError:
                    is_cut = not broken.is_too_long
                    yield EndsInsideError(broken.beginning) if is_cut else broken
                    return
                yield broken
                if self.peek() in ("}", "" if closing else "]"):
                    self.pass_one()

    def beginning(self) -> str:
        return self._buffer[self._position : self._position + 400]

    def pass_one(self) -> None:
        """Pass over one character, whatever it is."""
        if self._position >= len(self._buffer):
            self._read_on()
        self._position = min(self._position + 1, len(self._buffer))

    def _read_on(self, at_least: int = 0) -> bool:
        piece = self._stream.read(max(_PIECE, at_least))
        self._buffer = self._buffer[self._position :] + piece
        self._position = 0
        self._ended = not piece
        return bool(piece)


def _blanks_end(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position
