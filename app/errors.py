"""What a person can meet, as sentences.

Every error that reaches a person is a DomainError: it says what happened, why, and what to do
next, in that order. Each concept keeps its own small family beside its service; the web face maps
the status code to a page or to JSON in one place (app/web/error_pages.py).
"""

from typing import ClassVar


class DomainError(Exception):
    """Something that a person can understand and act on.

    Attributes:
        what: one sentence that says what happened.
        why: one sentence that says why, or an empty string where `what` says it all.
        next_step: one sentence that says what to do next.
        field: the name of the form field it is about, if it is about one.
    """

    status_code: ClassVar[int] = 400

    def __init__(self, what: str, *, why: str = "", next_step: str = "", field: str = "") -> None:
        super().__init__(" ".join(part for part in (what, why, next_step) if part))
        self.what = what
        self.why = why
        self.next_step = next_step
        self.field = field


class NotFoundError(DomainError):
    """It does not exist, or this person may not know that it does."""

    status_code = 404

    def __init__(self, what: str = "This page does not exist.") -> None:
        super().__init__(
            what,
            why="It may have been deleted, or it belongs to someone else.",
            next_step="Go back to your projects.",
        )


class ForbiddenError(DomainError):
    """The person may see it but not do this with it."""

    status_code = 403


class ConflictError(DomainError):
    """It does not go together with the present state of things."""

    status_code = 409


class InvalidInputError(DomainError):
    """What was entered cannot be used as it stands."""

    status_code = 422


class TooLargeError(DomainError):
    """It is larger than a limit allows."""

    status_code = 413


class TooManyRequestsError(DomainError):
    """It was asked for too often in a short time."""

    status_code = 429


class UnavailableError(DomainError):
    """Something Tailor leans on does not answer right now."""

    status_code = 503
