"""Find out in which encoding a file was written."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from charset_normalizer import from_bytes

from app.datasets.readers.latin_codecs import find_latin_codec
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
_NEVER_IN_WINDOWS_1252: Final = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")
# What a file may be in that is no Latin text. Codes of two bytes for Latin text, and those that
# only old machines wrote, are left out: a guesser finds them in files that hold a single odd sign.
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
    if scan.valid >= scan.broken:
        return FoundEncoding("utf-8", scan.broken)
    sample = bytes(scan.sample)
    latin = find_latin_codec(sample)
    if scan.broken_values <= _NEVER_IN_WINDOWS_1252 and latin in {None, "cp1252"}:
        return FoundEncoding("utf-8", scan.broken)
    return FoundEncoding(latin or _other_codec(sample))


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


def _other_codec(sample: bytes) -> str:
    best = from_bytes(sample[: 64 * 1024], cp_isolation=list(_OTHER_CODECS)).best()
    return best.encoding if best is not None else "cp1252"
