"""Excel workbooks (.xlsx)."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

from app.datasets.readers.columns import has_known_names
from app.datasets.readers.problems import DamagedSpreadsheetError, NoRowsError
from app.datasets.readers.records import Item, LeftOut, Plan, Reason, Record, shortened
from app.datasets.readers.text_stream import Source


def find_sheet(source: Source) -> tuple[int, list[str], list[list[str]]]:
    """Choose the first visible sheet with columns of known names, or else the first filled one.

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
        found = [(position, _first_rows(workbook, position)) for position in visible[:20]]
    except (CalamineError, OSError, ValueError) as error:
        raise DamagedSpreadsheetError from error
    filled = [(position, rows) for position, rows in found if any(map(any, rows))]
    if not filled:
        raise NoRowsError
    filled.sort(key=lambda entry: not has_known_names(entry[1]))
    position, rows = filled[0]
    return position, [workbook.sheet_names[other] for other, _ in filled], rows


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
    above = plan.rows_above + plan.has_header
    for row, cells in read_cells(source, plan):
        if not any(cells):
            continue
        if above:
            above -= 1
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
        # As people write it: no exponents, and no more digits than Excel itself keeps.
        text = f"{Decimal(f'{cell:.15g}'):f}"
        return text.removesuffix(".0")
    if isinstance(cell, datetime):
        is_day = cell.time() == time()
        return cell.date().isoformat() if is_day else cell.isoformat(sep=" ", timespec="minutes")
    if isinstance(cell, timedelta):
        minutes, seconds = divmod(round(cell.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)
