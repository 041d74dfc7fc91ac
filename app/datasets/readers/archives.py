"""Look into a ZIP archive without unpacking it, and refuse what could harm."""

import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from app.datasets.readers.limits import (
    MAX_ARCHIVE_MEMBERS,
    MAX_UNPACK_RATIO,
    MAX_UNPACKED_BYTES,
    MEBIBYTE,
)
from app.datasets.readers.problems import DamagedSpreadsheetError, UnsafeSpreadsheetError

_NESTED: Final = (".zip", ".gz", ".7z", ".rar", ".bz2", ".xz", ".tar")
_SHEET: Final = re.compile(r"xl/worksheets/[^/]+\.xml", re.IGNORECASE)
_FORMULA: Final = re.compile(rb"<f[ >/]")
_FORMULA_WITHOUT_VALUE: Final = re.compile(rb"(?:</f>|<f[^>]*/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")


@dataclass(frozen=True)
class Formulas:
    cells: int = 0
    without_value: int = 0


def member_names(path: Path) -> frozenset[str]:
    """Return the names inside; an empty set if it is no readable archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist()[:MAX_ARCHIVE_MEMBERS])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return frozenset()


def check_spreadsheet(path: Path) -> Formulas:
    """Refuse archive bombs, links and archives inside; count the formulas on the way.

    Declared sizes can lie, so every part is really unpacked, piece by piece, and counted.

    Raises:
        UnsafeSpreadsheetError, DamagedSpreadsheetError
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARCHIVE_MEMBERS:
                raise UnsafeSpreadsheetError("It is made of an unusual number of parts.")
            for member in members:
                _check_member(member)
            return _unpack_and_count(archive, path.stat().st_size)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise DamagedSpreadsheetError from error
    except zlib.error as error:
        raise DamagedSpreadsheetError from error


def _check_member(member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise UnsafeSpreadsheetError("A part of it names a place outside of the file.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnsafeSpreadsheetError("A part of it is a link to another file.")
    if name.suffix.lower() in _NESTED:
        raise UnsafeSpreadsheetError("There are further archives packed inside.")
    if member.flag_bits & 0x1:
        raise UnsafeSpreadsheetError("It is protected by a password.")


def _unpack_and_count(archive: zipfile.ZipFile, packed_bytes: int) -> Formulas:
    allowed = min(MAX_UNPACKED_BYTES, max(10 * MEBIBYTE, MAX_UNPACK_RATIO * packed_bytes))
    unpacked = cells = without_value = 0
    for member in archive.infolist():
        is_sheet = _SHEET.fullmatch(member.filename) is not None
        held = b""
        with archive.open(member) as part:
            while piece := part.read(MEBIBYTE):
                unpacked += len(piece)
                if unpacked > allowed:
                    raise UnsafeSpreadsheetError(
                        f"Unpacked, it would grow from {_size(packed_bytes)} to more than "
                        f"{_size(allowed)}."
                    )
                if is_sheet:
                    text = held + piece
                    # The last cell may continue in the next piece: it is counted there.
                    cut = text.rfind(b"</c>") + 4 if b"</c>" in text else 0
                    cells += len(_FORMULA.findall(text, 0, cut))
                    without_value += len(_FORMULA_WITHOUT_VALUE.findall(text, 0, cut))
                    held = text[cut:][-MEBIBYTE:]
    return Formulas(cells, without_value)


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB" if count >= 100_000 else f"{count / 1000:,.1f} kB"
