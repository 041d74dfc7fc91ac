"""What can go wrong with versions, in sentences."""

from app.errors import NotFoundError


class UnknownVersionError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("This version does not exist.")


class AdapterFilesGoneError(NotFoundError):
    """The row is there, the files are not: the data folder was changed by other hands."""

    def __init__(self, number: int) -> None:
        super().__init__(f"The files of version v{number} are not where Tailor put them.")
        self.why = "Someone may have moved or deleted them on the machine that runs Tailor."
        self.next_step = (
            "Ask the person who runs Tailor to restore them from a backup, or train once more."
        )
