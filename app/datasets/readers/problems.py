"""Files that cannot become examples as they are: what is wrong, why, and what helps."""

from app.errors import DomainError


class UnreadableFileError(DomainError):
    """Nothing in the file can be used."""

    status_code = 422


class EmptyFileError(UnreadableFileError):
    def __init__(self) -> None:
        super().__init__(
            "This file is empty.",
            why="There is not a single character of text in it.",
            next_step="Check that it was saved, then upload it again.",
        )


class NoRowsError(UnreadableFileError):
    def __init__(self) -> None:
        super().__init__(
            "Tailor found no rows in this file.",
            why="There are column names at most, and nothing below them.",
            next_step="Fill in some rows and upload the file again.",
        )


class NothingReadableError(UnreadableFileError):
    def __init__(self, why: str) -> None:
        super().__init__(
            "Not one row of this file can be read.",
            why=why,
            next_step="Open the file in the program it came from, save it once more, "
            "and upload it again.",
        )


class OtherKindOfFileError(UnreadableFileError):
    def __init__(self, kind: str, next_step: str) -> None:
        super().__init__(
            f"This file is {kind}.",
            why="Tailor reads tables (CSV, TSV, Excel), JSON, JSON Lines, plain text and Markdown.",
            next_step=next_step,
        )


class NotTextError(UnreadableFileError):
    def __init__(self) -> None:
        super().__init__(
            "This file does not hold text.",
            why="Whatever its name says, its contents are bytes that no text or table program "
            "would write.",
            next_step="Open it in the program it came from and save it as CSV, Excel (.xlsx) "
            "or plain text.",
        )


class DamagedSpreadsheetError(UnreadableFileError):
    def __init__(self) -> None:
        super().__init__(
            "This Excel file cannot be opened.",
            why="A part of it is missing or damaged.",
            next_step="Open it in Excel or LibreOffice, save it again as .xlsx or CSV, "
            "and upload that.",
        )


class UnsafeSpreadsheetError(UnreadableFileError):
    def __init__(self, why: str) -> None:
        super().__init__(
            "This Excel file was not opened, to protect this machine.",
            why=why,
            next_step="If you trust it, open it in Excel or LibreOffice, save it as CSV, "
            "and upload that.",
        )


class NeedsTooMuchError(UnreadableFileError):
    def __init__(self) -> None:
        super().__init__(
            "Reading this file takes more memory or time than Tailor allows.",
            why="It is too large for its kind, or built in an unusual way.",
            next_step="Save it as CSV or JSON Lines, or split it into several files, "
            "and upload those.",
        )
