"""Look through a file and say what was understood."""

import time
from collections.abc import Iterator
from typing import Any, Final

from app.datasets.readers import spreadsheet
from app.datasets.readers.columns import (
    has_header,
    names_from,
    propose_roles,
    rows_above_names,
)
from app.datasets.readers.limits import MAX_COLUMNS, PASSAGE_CHARACTERS
from app.datasets.readers.problems import NoRowsError, NothingReadableError, UnreadableFileError
from app.datasets.readers.reading import read_finding_columns
from app.datasets.readers.recognise import Recognised, recognise
from app.datasets.readers.records import (
    ColumnRole,
    FileFormat,
    Item,
    LeftOut,
    Plan,
    Reason,
    Record,
    Surplus,
    shortened,
)
from app.datasets.readers.surplus import find_surplus
from app.datasets.readers.survey import ColumnSurvey, as_text
from app.datasets.readers.text_stream import Source

SECONDS: Final = 10.0
_PREVIEW_ROWS: Final = 8
_PREVIEW_CHARACTERS: Final = 300
_WHOLE_FILE_PROBLEMS: Final = {
    Reason.NOT_JSON: "It begins like JSON, but no part of it is complete.",
    Reason.FILE_ENDS_INSIDE: "It ends in the middle of its first row.",
    Reason.LINE_TOO_LONG: "It is one single line that is too long to be a row.",
    Reason.TOO_LONG: "It is one single value that is too long to be a row.",
    Reason.UNCLOSED_QUOTE: "A quotation mark is opened in its first row and never closed.",
    Reason.NESTED_TOO_DEEPLY: "Its contents are lists within lists, too deep to be rows.",
}


def inspect(source: Source, encoding: str = "", seconds: float = SECONDS) -> dict[str, Any]:
    """Recognise the file and survey as many rows as the time allows.

    Args:
        source: the file.
        encoding: the codec that somebody chose; empty to find it out.
        seconds: how long to survey.

    Raises:
        UnreadableFileError: if nothing of it can be used.
    """
    found = recognise(source, encoding)
    notes: list[dict[str, Any]] = []
    _find_columns(source, found, notes)
    survey = _Survey(found.plan.columns)
    survey.run(read_finding_columns(source, found.plan), source, seconds)
    if survey.rows == 0:
        raise _nothing(survey)
    roles = propose_roles(survey.columns)
    return {
        "plan": found.plan.as_json(),
        "format": found.plan.format,
        "encoding": found.encoding.codec,
        "encoding_is_chosen": encoding != "",
        "delimiter": found.plan.delimiter if found.plan.format is FileFormat.DELIMITED else "",
        "columns": [
            {
                "name": column.name,
                "role": role,
                "examples": column.examples,
                "filled": column.filled,
                "rows": column.rows,
                "holds_turns": column.is_conversation,
            }
            for column, role in zip(survey.columns, roles, strict=True)
        ],
        "preview": survey.preview(),
        "row_count": survey.estimated_rows(),
        "row_count_is_exact": survey.is_complete,
        "left_out_count": sum(survey.left_out.values()),
        "notes": notes + _notes(found, survey, roles),
    }


class _Survey:
    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.columns: list[ColumnSurvey] = []
        self._first: list[tuple[int, list[str]]] = []
        self.rows = 0
        self.left_out: dict[Reason, int] = {}
        self.first_left_out: LeftOut | None = None
        self.is_complete = True
        self._share = 1.0

    def run(self, items: Iterator[Item], source: Source, seconds: float) -> None:
        end = time.monotonic() + seconds
        for count, item in enumerate(items, start=1):
            if isinstance(item, LeftOut):
                self.left_out[item.reason] = self.left_out.get(item.reason, 0) + 1
                self.first_left_out = self.first_left_out or item
            else:
                self._add(item)
            if count % 200 == 0 and time.monotonic() > end:
                self.is_complete = False
                self._share = source.share_read()
                return

    def _add(self, record: Record) -> None:
        # The plan's names grow while a JSON file is read.
        new = self._names[len(self.columns) : len(record.values)]
        self.columns += [ColumnSurvey(name, rows=self.rows) for name in new]
        self.rows += 1
        for column, value in zip(self.columns, record.values, strict=True):
            column.add(value)
        if len(self._first) < _PREVIEW_ROWS:
            cells = [shortened(as_text(value), _PREVIEW_CHARACTERS) for value in record.values]
            self._first.append((record.row, cells))

    def preview(self) -> list[dict[str, Any]]:
        """Return the first rows, with an empty cell for each column that came up after them."""
        width = len(self.columns)
        return [
            {"row": row, "cells": cells + [""] * (width - len(cells))} for row, cells in self._first
        ]

    def estimated_rows(self) -> int:
        return self.rows if self.is_complete else round(self.rows / max(self._share, 1e-9))


def _find_columns(source: Source, found: Recognised, notes: list[dict[str, Any]]) -> None:
    plan = found.plan
    # The columns of JSON come up while it is read.
    if plan.columns or plan.format in {FileFormat.JSON, FileFormat.JSON_LINES}:
        return
    rows = list(found.rows)
    if plan.format is FileFormat.SPREADSHEET:
        plan.sheet, sheets, rows = spreadsheet.find_sheet(source)
        if len(sheets) > 1:
            notes.append(
                {
                    "code": "other_sheets",
                    "sheet": shortened(sheets[0], 60),
                    "others": [shortened(name, 60) for name in sheets[1:6]],
                }
            )
    plan.rows_above = rows_above_names(rows)
    rows = rows[plan.rows_above :]
    if not rows:
        raise NoRowsError
    plan.has_header = has_header(rows)
    if plan.has_header and len(rows) == 1 and not found.has_longer_lines:
        raise NoRowsError
    if plan.format is FileFormat.DELIMITED and plan.has_header and len(rows[0]) > 1:
        plan.surplus = find_surplus(rows, plan.delimiter)
    plan.columns = names_from(rows, header=plan.has_header, surplus=plan.surplus)[:MAX_COLUMNS]


def _notes(found: Recognised, survey: _Survey, roles: list[ColumnRole]) -> list[dict[str, Any]]:
    """What the maker should know, as codes; app/datasets/wording.py has the sentences."""
    notes: list[dict[str, Any]] = []
    plan = found.plan
    if plan.format in {FileFormat.DELIMITED, FileFormat.SPREADSHEET} and not plan.has_header:
        notes.append({"code": "no_header"})
    notes += _surplus_notes(found, survey)
    if found.encoding.broken_bytes:
        notes.append({"code": "broken_bytes", "count": found.encoding.broken_bytes})
    if found.formulas.cells:
        notes.append(
            {
                "code": "formulas",
                "count": found.formulas.cells,
                "without_value": found.formulas.without_value,
            }
        )
    used = {
        role: [column for column, given in zip(survey.columns, roles, strict=True) if given is role]
        for role in set(roles)
    }
    notes += _purpose_notes(used)
    texts = [
        column
        for role, columns in used.items()
        if role is not ColumnRole.IGNORE
        for column in columns
    ]
    if any(c.surely_has_html or c.with_html >= max(1, 0.05 * c.filled) for c in texts):
        notes.append({"code": "html", "count": max(column.with_html for column in texts)})
    numbers = sum(column.numbers for column in texts)
    if plan.format is FileFormat.SPREADSHEET and numbers:
        notes.append({"code": "numbers", "count": numbers})
    notes += _passage_notes(found.plan, survey, used.get(ColumnRole.PASSAGE, []))
    if all(role is ColumnRole.IGNORE for role in roles):
        notes.append({"code": "no_text_column"})
    if survey.left_out and survey.first_left_out:
        notes.append(
            {
                "code": "some_left_out",
                "count": sum(survey.left_out.values()),
                "row": survey.first_left_out.row,
                "reason": survey.first_left_out.reason,
            }
        )
    return notes


def _purpose_notes(used: dict[ColumnRole, list[ColumnSurvey]]) -> list[dict[str, Any]]:
    """What can be learned from the rows besides answering."""
    if ColumnRole.REJECTED in used:
        return [{"code": "pairs"}]
    if ColumnRole.THUMB in used:
        return [{"code": "thumbs"}]
    kinds = used.get(ColumnRole.KIND, [])
    sorted_by = kinds or [c for c in used.get(ColumnRole.ANSWER, []) if c.holds_kinds]
    if sorted_by and sorted_by[0].kinds:
        return [{"code": "sorting", "kinds": len(sorted_by[0].kinds)}]
    return []


def _surplus_notes(found: Recognised, survey: _Survey) -> list[dict[str, Any]]:
    """What was done with the cells that most rows have beyond the names."""
    plan = found.plan
    if plan.surplus in {Surplus.OF_TEXTS, Surplus.OF_LAST} and len(plan.columns) > 1:
        return [{"code": f"surplus_{plan.surplus}", "delimiter": plan.delimiter}]
    if plan.surplus is Surplus.OF_UNNAMED:
        named = len(found.rows[plan.rows_above])
        if any(column.holds_text for column in survey.columns[named:]):
            return [{"code": "surplus_of_unnamed", "delimiter": plan.delimiter}]
    return []


def _passage_notes(
    plan: Plan, survey: _Survey, passages: list[ColumnSurvey]
) -> list[dict[str, Any]]:
    if not passages:
        return []
    notes: list[dict[str, Any]] = []
    if passages[0].longest > PASSAGE_CHARACTERS:
        notes.append(
            {
                "code": "long_passages",
                "characters": passages[0].longest,
                "limit": PASSAGE_CHARACTERS,
            }
        )
    is_single = len([column for column in survey.columns if column.filled]) == 1
    is_table = plan.format in {FileFormat.DELIMITED, FileFormat.SPREADSHEET}
    notes.append({"code": "one_column" if is_single and is_table else "passages"})
    return notes


def _nothing(survey: _Survey) -> UnreadableFileError:
    if survey.first_left_out is None:
        return NoRowsError()
    reason = survey.first_left_out.reason
    return NothingReadableError(
        _WHOLE_FILE_PROBLEMS.get(reason, "Every row of it is damaged in one way or another.")
    )
