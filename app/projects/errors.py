"""What can go wrong with projects, in sentences."""

from app.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError


class UnknownProjectError(NotFoundError):
    """It does not exist, or it is someone else's; nobody learns which."""

    def __init__(self) -> None:
        super().__init__("This project does not exist.")


class RoleTooLowError(ForbiddenError):
    def __init__(self, *, needs_owner: bool) -> None:
        super().__init__(
            "Only owners of this project may do this."
            if needs_owner
            else "You may look at this project, but not change it.",
            next_step="Ask an owner of the project to do it, or to give you the right to.",
        )


class MissingProjectNameError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "The project has no name yet.",
            next_step="Write in a few words what it is for.",
            field="name",
        )


class UnknownMemberError(InvalidInputError):
    def __init__(self, email: str) -> None:
        super().__init__(
            f"Nobody here has the address {email}.",
            why="Only people with an account can be added.",
            next_step="An administrator can invite them; then add them here.",
            field="email",
        )


class AlreadyMemberError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is already in this project.",
            next_step="Change their role in the list.",
            field="email",
        )


class LastOwnerError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "Nobody else who can sign in owns this project.",
            why="Without one, nobody could manage it.",
            next_step="Make another person owner first.",
        )


class WrongConfirmationError(InvalidInputError):
    def __init__(self, name: str) -> None:
        super().__init__(
            "The name does not match, so nothing was deleted.",
            next_step=f"To delete the project, type its name: {name}",
            field="confirmation",
        )


class TrainingBlocksDeletionError(ConflictError):
    def __init__(self, version_number: int) -> None:
        super().__init__(
            f"The project cannot be deleted while version {version_number} is being trained.",
            why="The training would lose its ground.",
            next_step="Stop the training first, or wait until it is done.",
            field="confirmation",
        )
