"""Recognise what a file is from its contents. Its name is never asked."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from app.datasets.readers import archives, delimited, json_records, markdown, plain_text
from app.datasets.readers.column_names import is_known_name
from app.datasets.readers.encodings import FoundEncoding, find_encoding
from app.datasets.readers.json_stream import BrokenValueError, parse
from app.datasets.readers.problems import (
    EmptyFileError,
    NothingReadableError,
    NotTextError,
    OtherKindOfFileError,
)
from app.datasets.readers.records import FileFormat, Plan, Surplus
from app.datasets.readers.text_stream import Source, bounded_lines, tidied

_HEAD_CHARACTERS: Final = 128 * 1024
_MOST_LONGER_LINES: Final = 3
_LONGEST_WORD: Final = 20_000
_SAVE_AS_TEXT: Final = (
    "Open it, choose “Save as” and then plain text (.txt), and upload that; or copy its text "
    "into the box for pasting."
)
_SAVE_AS_TABLE: Final = "Open it in Excel or LibreOffice, save it as .xlsx or CSV, and upload that."
_NO_USE: Final = "Upload the questions and answers as a table or as text instead."
_SIGNATURES: Final = (
    (b"%PDF-", "a PDF document", _SAVE_AS_TEXT),
    (b"{\\rtf", "a rich text document (RTF)", _SAVE_AS_TEXT),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Excel or Word file (.xls, .doc), or one protected by a password",
        "Open it, save it without a password as .xlsx, CSV or plain text, and upload that.",
    ),
    (b"\x89PNG\r\n\x1a\n", "a picture", _NO_USE),
    (b"\xff\xd8\xff", "a picture", _NO_USE),
    (b"GIF8", "a picture", _NO_USE),
    (b"II*\x00", "a picture", _NO_USE),
    (b"\x1f\x8b", "a packed file (gzip)", "Unpack it and upload what is inside."),
    (b"7z\xbc\xaf\x27\x1c", "a packed file (7z)", "Unpack it and upload what is inside."),
    (b"Rar!\x1a\x07", "a packed file (RAR)", "Unpack it and upload what is inside."),
    (b"PAR1", "a Parquet file", "Export it as CSV or JSON Lines and upload that."),
    (b"SQLite format 3\x00", "a database file", "Export the table as CSV and upload that."),
    (b"ID3", "a sound recording", _NO_USE),
    (b"OggS", "a sound recording", _NO_USE),
)
_ZIPPED: Final = (
    ("xl/workbook.bin", "a binary Excel file (.xlsb)", _SAVE_AS_TABLE),
    ("word/document.xml", "a Word document (.docx)", _SAVE_AS_TEXT),
    ("ppt/presentation.xml", "a PowerPoint presentation", _SAVE_AS_TEXT),
    ("content.xml", "a LibreOffice document", _SAVE_AS_TABLE),
    ("META-INF/container.xml", "an e-book", _SAVE_AS_TEXT),
)
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_LIST_BEGINS: Final = re.compile(r'\[\s*(?:[{\["\]]|$)')
_WEB_PAGE: Final = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html)[\s>]", re.IGNORECASE)


@dataclass(frozen=True)
class Recognised:
    plan: Plan
    encoding: FoundEncoding
    formulas: archives.Formulas
    rows: tuple[list[str], ...] = ()
    """The first rows of a table, to find its columns."""
    has_longer_lines: bool = False
    """Whether lines too long to be looked at stand among them."""


def recognise(source: Source, chosen: str = "") -> Recognised:
    """Find out format, encoding and delimiter; the encoding only if nobody chose it.

    Raises:
        UnreadableFileError: if it is nothing that Tailor reads.
    """
    if source.size == 0:
        raise EmptyFileError
    if _is_workbook(source.path):
        formulas = archives.check_spreadsheet(source.path)
        return Recognised(Plan(FileFormat.SPREADSHEET), FoundEncoding("utf-8"), formulas)
    encoding = FoundEncoding(chosen) if chosen else find_encoding(source.path)
    with source.open_text(encoding.codec, newline="") as stream:
        head, has_longer_lines = _head_of(stream)
    if not head.strip("\x00 \t\r\n\f\v"):
        raise EmptyFileError
    if len(_CONTROL.findall(head)) > 0.005 * len(head) + 2:
        raise NotTextError
    newline = "\r" if "\r" in head and "\n" not in head else "\n"
    lines = [tidied(line) for line in head.replace("\r\n", "\n").split(newline)]
    plan, rows = _plan_for("\n".join(lines), encoding.codec)
    plan.newline = newline
    if plan.format is FileFormat.TEXT:
        _refuse_one_long_word(head)
    return Recognised(plan, encoding, archives.Formulas(), tuple(rows), has_longer_lines)


def _head_of(stream: TextIO) -> tuple[str, bool]:
    """Return the first lines, whole, and whether longer ones stand among them.

    A line that alone is longer than all that is looked at costs only itself; the beginning of one
    is returned only where there is nothing else.
    """
    lines: list[str] = []
    longer: list[str] = []
    characters = 0
    for line in bounded_lines(stream, _HEAD_CHARACTERS):
        if not line.is_whole:
            longer.append(line.text)
        elif characters + len(line.text) > _HEAD_CHARACTERS:
            break
        else:
            lines.append(line.text)
            characters += len(line.text)
        if len(longer) > _MOST_LONGER_LINES:
            break
    head = "".join(lines)
    if longer and not head.strip("\ufeff \t\r\n"):
        head = longer[0]
    return head.lstrip("\ufeff"), bool(longer)


def _is_workbook(path: Path) -> bool:
    """Recognise an Excel workbook, and refuse all that begins like some other kind of file."""
    with path.open("rb") as file:
        beginning = file.read(16)
    for signature, kind, next_step in _SIGNATURES:
        if beginning.startswith(signature):
            raise OtherKindOfFileError(kind, next_step)
    if beginning[4:8] == b"ftyp" or beginning[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        raise OtherKindOfFileError("a picture, a film or a sound recording", _NO_USE)
    if not beginning.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return False
    names = archives.member_names(path)
    if "xl/workbook.xml" in names:
        return True
    for name, kind, next_step in _ZIPPED:
        if name in names:
            raise OtherKindOfFileError(kind, next_step)
    raise OtherKindOfFileError(
        "a packed folder (ZIP), or a damaged Excel file",
        "Unpack it and upload the files inside one by one; if it is an Excel file, save it again.",
    )


def _refuse_one_long_word(head: str) -> None:
    if max(map(len, head.split())) > _LONGEST_WORD:
        raise NothingReadableError("It is one long line without words, rows or sentences.")


def _plan_for(head: str, codec: str) -> tuple[Plan, list[list[str]]]:
    if _WEB_PAGE.match(head):
        raise OtherKindOfFileError("a web page (HTML)", _SAVE_AS_TEXT)
    if json_format := _json_format(head):
        name = json_records.find_list_name(head) if json_format is FileFormat.JSON else ""
        return Plan(json_format, codec, list_name=name), []
    found = delimited.find_table(head)
    if plain_text.has_marked_pairs(head) and (found is None or _begins_with_marks(*found)):
        return Plan(FileFormat.PAIRS, codec, columns=["Question", "Answer"]), []
    if found:
        plan, rows = found
        plan.encoding = codec
        return plan, rows
    if markdown.is_markdown(head):
        return Plan(FileFormat.MARKDOWN, codec, columns=["Text"]), []
    lines = head.splitlines()
    if _is_one_named_column(lines):
        plan = Plan(FileFormat.DELIMITED, codec, surplus=Surplus.OF_LAST)
        return plan, [[line] for line in lines[:400] if line.strip()]
    return Plan(FileFormat.TEXT, codec, columns=["Text"]), []


def _begins_with_marks(plan: Plan, rows: list[list[str]]) -> bool:
    """Recognise marked text out of Word, which puts a tab between `Q:` and the question."""
    marks = [row[0] for row in rows if len(row) > 1 and row[0].strip()]
    return plan.delimiter == "\t" and bool(marks) and all(map(plain_text.is_mark, marks))


def _is_one_named_column(lines: list[str]) -> bool:
    """A known column name above lines without a gap is a table of one column."""
    return len(lines) > 1 and len(lines[0].split()) == 1 and is_known_name(lines[0]) and all(lines)


def _json_format(head: str) -> FileFormat | None:
    text = head.lstrip()
    if _LIST_BEGINS.match(text):
        is_list_per_line = text.count("\n[") >= 1 and _parses(text.split("\n", 1)[0])
        return FileFormat.JSON_LINES if is_list_per_line else FileFormat.JSON
    if not text.startswith("{"):
        return None
    # One of the first lines may be damaged; an object over several lines is indented.
    lines = [line.strip() for line in text.splitlines()[:20] if line.startswith("{")]
    is_one_object = len(lines) == 1 and json_records.find_list_name(head) != ""
    if not is_one_object and any(line.endswith("}") and _parses(line) for line in lines):
        return FileFormat.JSON_LINES
    return FileFormat.JSON if re.match(r'\{\s*(?:"|\}|$)', text) else None


def _parses(line: str) -> bool:
    try:
        parse(line)
    except BrokenValueError:
        return False
    return True
