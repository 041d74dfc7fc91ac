"""What can go wrong with accounts, in sentences."""

from app.errors import (
    ConflictError,
    DomainError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
)


class NotSignedInError(DomainError):
    """Nobody is signed in, and the page is not public."""

    status_code = 401

    def __init__(self) -> None:
        super().__init__(
            "You are not signed in.",
            why="Your sign-in has ended, so nothing was changed.",
            next_step="Sign in in another tab, then go back to this one: what you typed is still "
            "there.",
        )


class WrongPasswordError(InvalidInputError):
    """The e-mail address and the password do not belong together, or nobody has the address."""

    def __init__(self) -> None:
        super().__init__(
            "This e-mail address and this password do not belong together.",
            next_step="Check both and try again.",
            field="password",
        )


class WrongCurrentPasswordError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This is not your present password.",
            next_step="Type the password you signed in with.",
            field="current_password",
        )


class AccountClosedError(ForbiddenError):
    def __init__(self) -> None:
        super().__init__(
            "Your account is switched off.",
            next_step="Ask the person who runs Tailor to switch it on again.",
        )


class TooManyAttemptsError(TooManyRequestsError):
    """Guessing is slowed down, for one account or from one address."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(
            "There were too many wrong passwords.",
            why="So that nobody can guess one, Tailor now waits a little.",
            next_step=f"Try again in {_span(wait_seconds)}.",
            field="password",
        )
        self.wait_seconds = wait_seconds


class WeakPasswordError(InvalidInputError):
    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(
            what,
            why=why,
            next_step="Choose a longer one, for example four words that do not belong together.",
            field="password",
        )


class InvalidEmailError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This is not an e-mail address.",
            next_step="Write it like anna@example.org.",
            field="email",
        )


class MissingNameError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "A name is missing.", next_step="Write how others should call you.", field="name"
        )


class EmailTakenError(ConflictError):
    def __init__(self, email: str) -> None:
        super().__init__(
            f"{email} has an account already.",
            next_step="Sign in with it, or use another address.",
            field="email",
        )


class LinkNotValidError(DomainError):
    """A one-time link that was used, is too old, or never existed; it never says which."""

    status_code = 410

    def __init__(self) -> None:
        super().__init__(
            "This link does not work any more.",
            why="Each link works once and for a limited time.",
            next_step="Ask the person who gave it to you for a new one.",
        )


class UnknownPersonError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("This person is not known here.")


class LastAdministratorError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This is the only administrator.",
            why="Without one, nobody could invite people or help them back in.",
            next_step="Make another person administrator first.",
        )


class NotAdministratorError(ForbiddenError):
    def __init__(self) -> None:
        super().__init__(
            "Only administrators may do this.",
            next_step="Ask the person who runs Tailor.",
        )


def _span(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} seconds" if seconds != 1 else "1 second"
    minutes = -(-seconds // 60)
    return f"{minutes} minutes" if minutes != 1 else "1 minute"
