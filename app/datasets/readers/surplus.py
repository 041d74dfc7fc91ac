"""Cells that rows of a table have beyond the names of its columns: whose they are."""

from app.datasets.readers.column_names import meaning_of
from app.datasets.readers.records import ColumnRole, Plan, Surplus


def find_surplus(rows: list[list[str]], delimiter: str) -> Surplus:
    """Say whose the cells are that most rows have beyond the names in the first one."""
    width = len(rows[0])
    longer = [row for row in rows[1:] if any(cell.strip() for cell in row[width:])]
    if len(longer) <= 0.5 * len(rows[1:]):
        # Few rows with more cells than names are damaged.
        return Surplus.NOBODYS
    whole = sum(len(_rejoined(row, width, delimiter)) == width for row in longer)
    if whole > 0.5 * len(longer):
        return Surplus.OF_TEXTS
    # Where a blank follows every delimiter, only the different numbers of cells tell a text.
    blanks = sum(all(cell.startswith(" ") for cell in row[1:] if cell) for row in longer)
    is_text = blanks > 0.5 * len(longer) and len(set(map(len, longer))) > 1
    is_answer = meaning_of(rows[0][-1]).group == ColumnRole.ANSWER
    return Surplus.OF_LAST if is_text and is_answer else Surplus.OF_UNNAMED


def with_surplus(cells: list[str], plan: Plan) -> list[str]:
    """Give a row's cells beyond the names back to the texts that they were cut from."""
    width = len(plan.columns)
    if plan.surplus is Surplus.OF_TEXTS:
        whole = _rejoined(cells, width, plan.delimiter)
        return whole if len(whole) == width else cells
    if plan.surplus is Surplus.OF_LAST:
        return [*cells[: width - 1], plan.delimiter.join(cells[width - 1 :])]
    return cells


def _rejoined(cells: list[str], width: int, delimiter: str) -> list[str]:
    """Return a row's cells; a delimiter before a blank stands inside a text and ends no cell.

    What is empty beyond the width is dropped.
    """
    whole = cells[:1]
    for cell in cells[1:]:
        if cell.startswith(" "):
            whole[-1] += delimiter + cell
        else:
            whole.append(cell)
    while len(whole) > width and not whole[-1]:
        whole.pop()
    return whole
