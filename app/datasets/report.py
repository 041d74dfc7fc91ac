"""What an import did: counts, and every row that was left out with its reason."""

import csv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from app.datasets.wording import reason_sentence
from app.storage.durable import sync_file

DETAILS: Final = 1_000
"""So many rows stand in the report itself; all of them in the file to download."""
LEFT_OUT_FILE: Final = "left_out.csv"
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(slots=True)
class Counts:
    """What has been done so far, written together with each batch of examples."""

    batch: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    reached_limit: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{name: data[name] for name in cls.__slots__})


class LeftOutFile:
    """Collects the rows that were not added: all in a file, the first thousand for the page."""

    def __init__(self, folder: Path, fence: int) -> None:
        self._path = folder / LEFT_OUT_FILE
        self._temporary = folder / f"{LEFT_OUT_FILE}.{fence}"
        self._file = self._temporary.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["Row", "What stands there", "Why it was not added"])
        self.details: list[dict[str, Any]] = []

    def add(self, row: int, value: str, reason: str) -> None:
        self._writer.writerow([row, harmless_cell(value), reason_sentence(reason)])
        if len(self.details) < DETAILS:
            self.details.append({"row": row, "value": value, "reason": reason})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            sync_file(self._file)
            self._file.close()
            self._temporary.replace(self._path)
            return
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def harmless_cell(text: str) -> str:
    """A text that no spreadsheet program takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
