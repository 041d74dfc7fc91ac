"""What can go wrong when a training is asked for, in sentences."""

from collections.abc import Sequence

from app.errors import ConflictError, InvalidInputError, NotFoundError


class UnknownRunError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("This training does not exist.")


class NoExamplesError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "There is nothing to learn from yet.",
            why="This project has no examples.",
            next_step="Add examples first, then start the training.",
        )


class NoBaseModelError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "No base model is chosen yet.",
            why="A training fits an existing model to your examples.",
            next_step="Choose a base model, then start the training.",
        )


class BaseModelNotReadyError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The base model {name} is not ready yet.",
            why="It is still being fetched or checked, or that went wrong.",
            next_step="Look at the base models, or choose another one.",
        )


class BaseModelGoneError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The files of the base model {name} are gone.",
            why="Their folder is no longer where it was when the model was checked.",
            next_step="Ask the person who runs Tailor to fetch it again, or choose another model.",
        )


class UnusableChoiceError(InvalidInputError):
    """A value in the expert drawer lies outside of its bounds."""

    def __init__(self, field: str, label: str, allowed: str) -> None:
        super().__init__(
            f"{label} cannot have this value.",
            next_step=f"Choose {allowed}, or leave it empty for the value that Tailor chose.",
            field=field,
        )


class UnusableChoicesError(InvalidInputError):
    """Values of the form cannot be used; each is named, so that all are put right at once."""

    def __init__(self, problems: Sequence[InvalidInputError]) -> None:
        super().__init__(" ".join(map(str, problems)), field=problems[0].field)
        self.problems = problems


class ExampleTooLongError(InvalidInputError):
    """Examples are to be longer than what the base model reads at once."""

    def __init__(self, asked: int, model: str, context: int, taken: int, most: int) -> None:
        besides = f", and {taken:,} of these places are the method's own" if taken else ""
        super().__init__(
            f"An example cannot have {asked:,} tokens.",
            why=f"{model} reads at most {context:,} tokens at once{besides}.",
            next_step=f"Choose at most {most:,}, or leave it empty for the number that Tailor "
            "chose.",
            field="max_tokens_per_example",
        )


class CannotContinueError(ConflictError):
    """A version is asked to be gone on from that cannot be."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"The training cannot go on from version {version}.",
            why=why,
            next_step="Start from the base model, or from another version.",
        )


class NothingForObjectiveError(ConflictError):
    def __init__(self, goal: str) -> None:
        super().__init__(
            f"“{goal}” cannot be learned from these examples.",
            why="None of them is of the kind that it needs.",
            next_step="Choose something else to learn, or add such examples first.",
        )


class MethodCannotSortError(InvalidInputError):
    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method} does not go with sorting into kinds.",
            why="The head that names the kinds needs a method whose small added parts stand inside "
            "of the base model's layers.",
            next_step="Choose LoRA or one of its relatives.",
            field="method",
        )


class MethodNotInFewBitsError(InvalidInputError):
    def __init__(self, field: str, method: str, form: str) -> None:
        super().__init__(
            f"“{form}” does not go with {method}.",
            why="That method calculates with the base model's own numbers, as they are.",
            next_step="Choose LoRA, or leave the base model as it is.",
            field=field,
        )


class FewBitsNotHereError(InvalidInputError):
    def __init__(self, field: str, form: str, why: str) -> None:
        super().__init__(
            f"“{form}” cannot be had here.",
            why=why,
            next_step="Leave the base model as it is, or choose a smaller one.",
            field=field,
        )


class AlreadyOverError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This training is over already.",
            next_step="Nothing needs to be stopped.",
        )


class AlreadyFinishingError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This training is finishing already.",
            why="It was asked to keep the best of what it has learned, which takes a moment only.",
            next_step="Wait for its version, or stop it.",
        )


class NothingLearnedError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This training has not learned anything yet.",
            why="Not one step is done, so there is nothing that a version could hold.",
            next_step="Wait until it learns, or stop it.",
        )


class NotPausedError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This training cannot go on from where it stopped.",
            next_step="Look at its page to see how it stands.",
        )


class NotWaitingError(ConflictError):
    def __init__(self) -> None:
        super().__init__(
            "This training does not wait any more.",
            why="It has begun or was stopped since the page was opened.",
            next_step="Look at the queue again.",
        )


class UnknownPersonError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("Nobody here has this account.")


class UnusableLimitError(InvalidInputError):
    """What was typed as a limit of the queue is no number, or lies outside of its bounds."""

    def __init__(self, field: str, label: str, lowest: float, highest: float) -> None:
        super().__init__(
            f"{label}: this is no limit that can be kept.",
            next_step=f"Type a number from {lowest:g} to {highest:,.0f}, or leave it empty for no "
            "limit.",
            field=field,
        )


class MayNotFitError(ConflictError):
    """What was chosen may need more memory than any device has; nothing was started yet."""

    def __init__(self, sentences: str) -> None:
        super().__init__(
            "Nothing was started yet, because there may be too little memory for what you chose.",
            why=sentences,
            next_step="Read below what would fit, or start it all the same.",
        )
