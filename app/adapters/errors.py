"""What can go wrong with versions, in sentences."""

from app.errors import ConflictError, NotFoundError


class UnknownVersionError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("This version does not exist.")


class AdapterFilesGoneError(NotFoundError):
    """The row is there, the files are not: the data folder was changed by other hands."""

    def __init__(self, number: int) -> None:
        super().__init__(f"The files of version {number} are not where Tailor put them.")
        self.why = "Someone may have moved or deleted them on the machine that runs Tailor."
        self.next_step = (
            "Ask the person who runs Tailor to restore them from a backup, or train once more."
        )


class BaseModelChangedError(ConflictError):
    """The base model of today is not the one that the version belongs to."""

    def __init__(self, base_model_name: str, number: int) -> None:
        super().__init__(
            f"Version {number} cannot be downloaded with the base model {base_model_name}.",
            why="Its files have changed since this version was trained, and on other files the "
            "version would answer differently.",
            next_step="Train a new version, or ask the person who runs Tailor to bring back the "
            "base model as it was.",
        )
