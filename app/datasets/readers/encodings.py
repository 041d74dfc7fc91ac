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
# Letters and signs that Western European office programs write; Windows-1252 is believed only if
# nearly all characters beyond ASCII are among them.
_WESTERN: Final = frozenset(
    "äöüÄÖÜßéèêëàâáãåçñóòôõøíìîïúùûÿýœæÉÈÊËÀÂÁÃÅÇÑÓÒÔÕØÍÌÎÏÚÙÛÝŒÆšžŠŽ"
    "„“”‘’‚–—…€£§°«»‹›·•©®™¿¡ªº½¼¾×²³µ´¨\u00a0\u00ad"
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
    """Recognise UTF-16 without a mark: every other byte of Western text is zero."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0 : pairs * 2 : 2].count(0), head[1 : pairs * 2 : 2].count(0)
    if odd > 0.4 * pairs and even < 0.05 * pairs:
        return "utf-16-le"
    if even > 0.4 * pairs and odd < 0.05 * pairs:
        return "utf-16-be"
    return None


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
    best = from_bytes(sample[: 64 * 1024]).best()
    return best.encoding if best is not None else "cp1252"


def _looks_western(sample: bytes) -> bool:
    text = sample.decode("cp1252", "replace")
    beyond = [character for character in text if ord(character) > 127]
    letters = sum(character.isalpha() for character in text)
    return sum(character in _WESTERN for character in beyond) >= 0.95 * len(beyond) and len(
        beyond
    ) <= 0.3 * max(letters, 1)
