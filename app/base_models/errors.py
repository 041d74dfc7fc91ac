"""What a person can meet when they look after base models."""

from app.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError


class UnknownBaseModelError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("This base model does not exist.")


class NotAHubNameError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This is not a model's name on the hub.",
            why="A name has two parts, such as Qwen/Qwen3-0.6B.",
            next_step="Copy it from the top of the model's page.",
            field="hub_id",
        )


class NotARevisionError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This is not a revision.",
            why="A revision is a branch, a tag or a commit.",
            next_step="Leave it empty to take the newest.",
            field="revision",
        )


class NotAFullPathError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This is not a full path.",
            why="A full path begins at the root, such as /srv/models/my-model.",
            next_step="Enter the full path of the folder on the server.",
            field="path",
        )


class FolderNotAllowedError(InvalidInputError):
    def __init__(self, allowed: str) -> None:
        super().__init__(
            "This folder, or a file that it leads to, is not among those that may hold base "
            "models.",
            why=f"The host allows only: {allowed}.",
            next_step="Move the model there, or ask for TAILOR_MODEL_FOLDERS to be widened.",
            field="path",
        )


class UnusableFolderError(InvalidInputError):
    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(what, why=why, next_step=next_step, field="path")


class FolderKnownError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            "This folder is registered already.",
            next_step=f"You find it as “{name}”.",
            field="path",
        )


class BuiltInError(ForbiddenError):
    def __init__(self) -> None:
        super().__init__(
            "Tailor Starter comes with Tailor and stays.",
            next_step="You need not use it: choose another base model in your project.",
        )


class BusyError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is being worked on.",
            why="It is being downloaded or checked right now.",
            next_step="Stop that first, or wait until it is done.",
        )


class InUseError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be deleted.",
            why="Versions in a project were made with it, and they need it to answer.",
            next_step="Delete those projects first, or keep it.",
        )


class NotReadyError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not ready yet.",
            why="Only a model that was downloaded and checked can be trained.",
            next_step="Choose another one, or wait until it is ready.",
            field="base_model_id",
        )


class MissingNameError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "The model needs a name.", next_step="Write a few words, then save.", field="name"
        )
