"""Text from a file, a bounded piece at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, TextIO

# Lone surrogates stand for bytes that did not belong to the encoding, or for half an emoji.
BROKEN_CHARACTER: Final = re.compile("[\ud800-\udfff\ufffd]")
_ESCAPING_CODECS: Final = ("utf-8", "utf-8-sig", "cp1252")


class Source:
    """An uploaded file, with how far it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw: BinaryIO | None = None

    def open_text(self, encoding: str, newline: str | None = None) -> TextIO:
        """Open it; bytes that do not fit the encoding become BROKEN_CHARACTERs.

        Args:
            encoding: the codec.
            newline: what ends a line, left as it is; None for any, turned into line feeds.
        """
        errors = "surrogateescape" if encoding in _ESCAPING_CODECS else "replace"
        self._raw = self.path.open("rb", buffering=256 * 1024)
        return TextIOWrapper(self._raw, encoding=encoding, errors=errors, newline=newline)

    def share_read(self) -> float:
        """How much of the file has been read so far, between 0 and 1."""
        if self._raw is None or self._raw.closed or self.size == 0:
            return 1.0
        return min(1.0, self._raw.tell() / self.size)


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    text: str
    is_whole: bool = True
    """False if the line was longer than the limit; its rest was passed over."""


def bounded_lines(stream: TextIO, limit: int) -> Iterator[Line]:
    """Yield lines with their ends; of a longer line only its beginning."""
    number = 0
    while text := stream.readline(limit):
        number += 1
        if text.endswith(("\n", "\r")) or len(text) < limit:
            yield Line(number, text)
            continue
        while (rest := stream.readline(limit)) and not rest.endswith(("\n", "\r")):
            continue
        yield Line(number, text, is_whole=False)


def tidied(line: str) -> str:
    """A line whose end is a line feed, and in which a stray carriage return is a blank."""
    if "\r" not in line:
        return line
    body = line.rstrip("\r\n")
    ending = "\n" if len(body) < len(line) else ""
    return body.replace("\r", " ") + ending


def has_broken_character(text: str) -> bool:
    return not text.isascii() and BROKEN_CHARACTER.search(text) is not None
