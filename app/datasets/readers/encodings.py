"""Find out in which encoding a file was written."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from charset_normalizer import from_bytes

from app.datasets.readers.limits import MEBIBYTE

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES: Final = 64 * 1024
_SAMPLE_BYTES: Final = 256 * 1024
_BROKEN: Final = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f\udc80-\udcff]")
_NEVER_IN_WESTERN_TEXT: Final = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")
# Letters that Western European languages write, in which a Central European file would have others.
_WESTERN_LETTERS: Final = frozenset(
    "äöüÄÖÜßéèêëàâáãåçñóòôõøíìîïúùûÿýœæÉÈÊËÀÂÁÃÅÇÑÓÒÔÕØÍÌÎÏÚÙÛÝŒÆšžŠŽ"
)
_SURE_CHARACTERS: Final = 4
# What a file that is not Western may be in. Codes of two bytes for Latin text, and those that only
# old machines wrote, are left out: a guesser finds them in files that hold a single odd sign.
_OTHER_CODECS: Final = (
    *("cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "iso8859_5"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)


@dataclass(frozen=True)
class FoundEncoding:
    codec: str
    broken_bytes: int = 0
    """Bytes that do not belong to the encoding; their rows are left out and reported."""


def find_encoding(path: Path) -> FoundEncoding:
    """Look at the whole file, in constant memory."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for mark, codec in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return FoundEncoding(codec)
    if wide := _wide_codec(head):
        return FoundEncoding(wide)
    scan = _Utf8Scan()
    scan.run(path)
    if scan.broken == 0:
        return FoundEncoding("utf-8")
    if scan.valid >= scan.broken or scan.broken_values <= _NEVER_IN_WESTERN_TEXT:
        return FoundEncoding("utf-8", scan.broken)
    return FoundEncoding(_single_byte_codec(bytes(scan.sample)))


def _wide_codec(head: bytes) -> str | None:
    """Recognise UTF-16 without a mark.

    Every other byte of Western text is zero. In other alphabets these bytes are few different ones,
    and the blanks and line ends still have their zeros.
    """
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0 : pairs * 2 : 2], head[1 : pairs * 2 : 2]
    if odd.count(0) > 0.4 * pairs and even.count(0) < 0.05 * pairs:
        return "utf-16-le"
    if even.count(0) > 0.4 * pairs and odd.count(0) < 0.05 * pairs:
        return "utf-16-be"
    if 0 in odd and 0 not in even and _is_readable(head[: pairs * 2], "utf-16-le"):
        return "utf-16-le"
    if 0 in even and 0 not in odd and _is_readable(head[: pairs * 2], "utf-16-be"):
        return "utf-16-be"
    return None


def _is_readable(head: bytes, codec: str) -> bool:
    """Say whether nearly all of it is letters, digits, marks and blanks in this encoding."""
    text = head.decode(codec, "replace")
    odd = sum(not (character.isprintable() or character in "\t\r\n") for character in text)
    return odd <= 0.01 * len(text)


class _Utf8Scan:
    """Counts what is and what is not UTF-8, and keeps a sample of the lines beyond ASCII."""

    def __init__(self) -> None:
        self.valid = 0
        self.broken = 0
        self.broken_values: set[int] = set()
        self.sample = bytearray()

    def run(self, path: Path) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        with path.open("rb") as file:
            while chunk := file.read(MEBIBYTE):
                self._count(decoder.decode(chunk))
                if len(self.sample) < _SAMPLE_BYTES and not chunk.isascii():
                    self._keep_lines(chunk)
        self._count(decoder.decode(b"", final=True))

    def _count(self, text: str) -> None:
        if text.isascii():
            return
        for found in _BROKEN.findall(text):
            self.broken += 1
            self.broken_values.add(ord(found) - 0xDC00)
        self.valid += len(_BEYOND_ASCII.findall(text))

    def _keep_lines(self, chunk: bytes) -> None:
        for line in chunk.splitlines(keepends=True):
            if not line.isascii():
                self.sample += line[:2000]
                if len(self.sample) >= _SAMPLE_BYTES:
                    return


def _single_byte_codec(sample: bytes) -> str:
    if _looks_western(sample):
        return "cp1252"
    best = from_bytes(sample[: 64 * 1024], cp_isolation=list(_OTHER_CODECS)).best()
    return best.encoding if best is not None else "cp1252"


def _looks_western(sample: bytes) -> bool:
    """Say whether a sample reads as Windows-1252.

    A few odd characters are not enough to doubt it. Otherwise nearly all must be Western letters,
    or signs that stand where signs stand: in other encodings these bytes are letters, in the middle
    of words; and where most letters lie beyond ASCII, the alphabet is another one.
    """
    text = f" {sample.decode('cp1252', 'replace')} "
    places = [place for place, character in enumerate(text) if ord(character) > 127]
    fitting = sum(
        text[place] in _WESTERN_LETTERS
        or (
            text[place] != "\ufffd"
            and not (text[place - 1].isalpha() and text[place + 1].isalpha())
        )
        for place in places
    )
    letters = sum(character.isalpha() for character in text)
    is_latin = sum(text[place].isalpha() for place in places) <= max(0.3 * letters, 2)
    if len(places) < _SURE_CHARACTERS:
        return is_latin
    return is_latin and fitting >= 0.95 * len(places)
