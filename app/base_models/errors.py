"""What a person can meet when they look after base models."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Uses:
    """What was made with a base model, without anything of the projects but whose they are.

    Attributes:
        versions: how many versions were trained on it.
        trainings: how many trainings started from it and have left no version.
        projects: in how many projects.
        owners: the names of those who can delete these projects.
        has_ownerless: whether one of the projects has no owner who can sign in.
    """

    versions: int
    trainings: int
    projects: int
    owners: tuple[str, ...] = ()
    has_ownerless: bool = False


class InUseError(ConflictError):
    """Something refers to it; without uses, only what is going already with its project."""

    def __init__(self, name: str, uses: Uses | None = None) -> None:
        super().__init__(
            f"{name} cannot be deleted yet." if uses is None else f"{name} cannot be deleted.",
            why="What was trained on it is just being deleted with its project."
            if uses is None
            else _why_in_use(uses),
            next_step="Try again in a minute." if uses is None else _next_step_in_use(uses),
        )


def _why_in_use(uses: Uses) -> str:
    """Say what refers to a base model, and why that keeps it."""
    other = "other training" if uses.versions else "training"
    counts = [_counted(uses.versions, "version"), _counted(uses.trainings, other)]
    were = "was" if uses.versions + uses.trainings == 1 else "were"
    where = "a project" if uses.projects == 1 else "projects"
    whose = f"of {_joined(uses.owners)}" if uses.owners else "without an owner who can sign in"
    why = f"{_joined(counts)} {were} made with it, in {where} {whose}."
    if uses.versions:
        why += " Versions need it to answer."
    if uses.trainings:
        why += " Of every training, Tailor keeps on record what it started from."
    return why


def _next_step_in_use(uses: Uses) -> str:
    steps = [f"ask {_joined(uses.owners)} to delete theirs"] if uses.owners else []
    if uses.has_ownerless:
        steps.append("name an owner under People where none can sign in")
    return (
        f"What was trained goes only with its whole project: {', '.join(steps)}, or keep the model."
    )


def _counted(number: int, word: str) -> str:
    if not number:
        return ""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _joined(parts: Sequence[str]) -> str:
    """Join what is not empty: one, two and three."""
    *most, last = [part for part in parts if part]
    return f"{', '.join(most)} and {last}" if most else last


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
