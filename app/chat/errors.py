"""What can go wrong in a conversation, in sentences."""

from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnavailableError,
)


class UnknownConversationError(NotFoundError):
    """It does not exist, or it is someone else's; nobody learns which."""

    def __init__(self) -> None:
        super().__init__("This conversation does not exist.")


class EmptyQuestionError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "There is no question yet.",
            next_step="Write what you would like to ask.",
            field="question",
        )


class QuestionTooLongError(InvalidInputError):
    def __init__(self, most: int) -> None:
        super().__init__(
            f"The text is longer than {most:,} characters.",
            why="No model of this size could read it at once.",
            next_step="Shorten it, or ask about one part of it.",
            field="question",
        )


class StillAnsweringError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "The answers to your last question are still being written.",
            next_step="Wait until they are there, or stop them, then ask again.",
            field="question",
        )


class TooManyAnswersError(TooManyRequestsError):
    def __init__(self) -> None:
        super().__init__(
            "Too many answers are being written at once.",
            why="Other people are asking too.",
            next_step="Wait a few seconds, then ask again.",
            field="question",
        )


class NotTheLastTurnError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "Only the last question can be asked again.",
            why="Later answers build on the earlier ones.",
            next_step="Ask it anew at the end of the conversation.",
        )


class NoModelToAskError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "There is no model to ask yet.",
            why="The project has no base model that is ready.",
            next_step="Choose a base model for the project first.",
            field="question",
        )


class UnknownVersionError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This version is not there any more.",
            next_step="Choose another version.",
            field="version",
        )


class EngineAwayError(UnavailableError):
    """The chat server does not answer at all."""

    def __init__(self) -> None:
        super().__init__(
            "The answer did not come.",
            why="The chat server is not running, or it is starting again.",
            next_step="Wait half a minute and ask again. If that does not help, tell the person "
            "who runs Tailor.",
        )


class EngineRefusedError(UnavailableError):
    """The chat server gave a reason."""

    def __init__(self, reason: str) -> None:
        super().__init__("The answer did not come.", why=reason)


class EngineFaultError(UnavailableError):
    """The chat server answered with something that is not for a person to read.

    Attributes:
        details: what it said, for the person who runs Tailor.
    """

    def __init__(self, details: str) -> None:
        super().__init__(
            "The answer did not come.",
            why="The chat server could not give one.",
            next_step="Ask again. If it happens twice, tell the person who runs Tailor; what the "
            "server said stands in the log.",
        )
        self.details = details


class BrokenOffError(UnavailableError):
    """The connection to the chat server ended in the middle of an answer."""

    def __init__(self) -> None:
        super().__init__(
            "The answer broke off.",
            why="The chat server stopped while it was writing.",
            next_step="Ask again.",
        )
