"""What can go wrong with examples and uploads."""

from typing import Final

from app.errors import ConflictError, DomainError, InvalidInputError, TooLargeError


class CopyOfAnotherError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This example is in the project already.",
            why="Another one has exactly the same texts.",
            next_step="Change something in it, or leave it at the one that is there.",
        )


class ChangedMeanwhileError(ConflictError):
    """Saving would take away what someone wrote since the form was opened."""

    def __init__(self) -> None:
        super().__init__(
            "Someone changed this example meanwhile, so yours is not saved yet.",
            why="It may also have been you, in another tab.",
            next_step="Compare both below: take over what you want to keep, then save again.",
        )


class DeletedMeanwhileError(ConflictError):
    """What was to be changed is gone, so what was written can only become an example of its own."""

    def __init__(self) -> None:
        super().__init__(
            "Someone deleted this example meanwhile.",
            why="It may also have been you, in another tab.",
            next_step="What you wrote is below. Save to add it as an example again.",
        )


_EMPTY: Final = {
    "question": ("question", "Tailor learns from a question together with its answer."),
    "answer": ("answer", "Tailor learns from a question together with its answer."),
    "rejected": ("second answer", "What people prefer is learned from two answers."),
    "kind": ("kind", "Sorting is learned from texts together with their kinds."),
}


class EmptyExampleError(InvalidInputError):
    def __init__(self, field: str) -> None:
        name, why = _EMPTY[field]
        super().__init__(
            f"The {name} is empty.",
            why=why,
            next_step=f"Write the {name}, then save again.",
            field="answer" if field == "kind" else field,
        )


class KindTooLongError(InvalidInputError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            "The name of the kind is too long.",
            why=f"It may have {limit} characters.",
            next_step="Give the kind a shorter name; all its examples need the same one.",
            field="answer",
        )


class SameAnswersError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "Both answers are the same.",
            why="Nothing can be learned from them, because neither is better.",
            next_step="Write what the model should not say.",
            field="rejected",
        )


class ExampleTooLongError(InvalidInputError):
    def __init__(self, characters: int, limit: int, field: str = "answer") -> None:
        super().__init__(
            "This example is too long.",
            why=f"It has {characters:,} characters; the most that is kept is {limit:,}.",
            next_step="Split it into several examples.",
            field=field,
        )


class TooManyExamplesError(ConflictError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The project holds {limit:,} examples, and that is the most it may hold.",
            why="The person who runs Tailor set this limit.",
            next_step="Delete examples that are no longer needed, or ask for a higher limit.",
        )


class UploadTooLargeError(TooLargeError):
    def __init__(self, limit_words: str) -> None:
        super().__init__(
            f"This file is larger than {limit_words}.",
            why="That is the most that one upload may have.",
            next_step="Split it into several files and upload them one after the other.",
        )


class NoFileError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "No file arrived.",
            why="Nothing was chosen, or the connection broke while it was being sent.",
            next_step="Choose a file and upload it again.",
            field="file",
        )


class NothingPastedError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "There is nothing to import yet.",
            why="The box is empty.",
            next_step="Paste your examples into it, then go on.",
            field="text",
        )


class ImportNotWaitingError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This file is not waiting for your choice of columns.",
            why="It is being imported, or it was imported already.",
            next_step="Look at its report; to import it differently, upload it again.",
        )


class UnknownEncodingError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "Tailor does not know this encoding.",
            why="It is none of those that the page offers.",
            next_step="Go back, reload the page and choose one of them.",
            field="encoding",
        )


class UnusableMappingError(InvalidInputError):
    def __init__(self, why: str, next_step: str) -> None:
        super().__init__(
            "With this choice, no example can be made.", why=why, next_step=next_step, field="roles"
        )


class ReaderStoppedError(DomainError):
    """The process that reads files ended without saying why."""

    def __init__(self) -> None:
        super().__init__(
            "Reading this file stopped unexpectedly.",
            why="The program that reads files ended in the middle of it.",
            next_step="Upload the file again; if it happens once more, save it as CSV and upload "
            "that.",
        )
