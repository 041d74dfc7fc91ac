"""Excel workbooks (.xlsx)."""

from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

from app.datasets.readers.problems import DamagedSpreadsheetError, NoRowsError
from app.datasets.readers.records import Item, LeftOut, Plan, Reason, Record, shortened
from app.datasets.readers.text_stream import Source


def find_sheet(source: Source) -> tuple[int, list[str], list[list[str]]]:
    """Choose the first visible sheet that holds something.

    Returns:
        Its position, the names of all filled sheets with it in front, and its first rows.
    """
    try:
        workbook = CalamineWorkbook.from_path(str(source.path))
        visible = [
            position
            for position, sheet in enumerate(workbook.sheets_metadata)
            if sheet.visible == SheetVisibleEnum.Visible
        ]
        filled = []
        first_rows: list[list[str]] = []
        for position in visible[:20]:
            rows = _first_rows(workbook, position)
            if any(any(row) for row in rows):
                filled.append(position)
                first_rows = first_rows or rows
    except (CalamineError, OSError, ValueError) as error:
        raise DamagedSpreadsheetError from error
    if not filled:
        raise NoRowsError
    return filled[0], [workbook.sheet_names[position] for position in filled], first_rows


def read_cells(source: Source, plan: Plan) -> Iterator[tuple[int, list[str]]]:
    """Yield every row's number, as Excel counts, and its cells; of formulas the stored result."""
    try:
        sheet = CalamineWorkbook.from_path(str(source.path)).get_sheet_by_index(plan.sheet)
        # Rows above the first filled cell are not in the iteration, but Excel counts them.
        first = sheet.start[0] + 1 if sheet.start else 1
        for row, cells in enumerate(sheet.iter_rows(), start=first):
            yield row, [_as_text(cell) for cell in cells]
    except (CalamineError, OSError, ValueError) as error:
        raise DamagedSpreadsheetError from error


def read(source: Source, plan: Plan) -> Iterator[Item]:
    width = len(plan.columns)
    header_is_ahead = plan.has_header
    for row, cells in read_cells(source, plan):
        if not any(cells):
            continue
        if header_is_ahead:
            header_is_ahead = False
            continue
        if any(cells[width:]):
            yield LeftOut(row, shortened(" ".join(cells)), Reason.TOO_MANY_CELLS)
        else:
            yield Record(row, cells[:width] + [""] * (width - len(cells)))


def _first_rows(workbook: CalamineWorkbook, position: int) -> list[list[str]]:
    rows: list[list[str]] = []
    for cells in workbook.get_sheet_by_index(position).iter_rows():
        if any(cell != "" for cell in cells):
            rows.append([_as_text(cell) for cell in cells])
        if len(rows) >= 200:
            break
    return rows


def _as_text(cell: Any) -> str:  # noqa: ANN401 (a cell is anything)
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):
        is_day = cell.time() == time()
        return cell.date().isoformat() if is_day else cell.isoformat(sep=" ", timespec="minutes")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)
