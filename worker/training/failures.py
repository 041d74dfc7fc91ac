"""Why a run cannot go on, as sentences: what happened, why, and what to do next."""

import errno
import re
import traceback
from typing import Final

from app.sizes import filesize

_DISK_IS_FULL: Final = "The disk of the machine that trains is full"
_MAKE_ROOM: Final = "Make room on that disk"
# What a system says that writes no more, and what helps. A quota ends it beside free space.
_WRITES_NO_MORE: Final[dict[int, tuple[str, str]]] = {
    errno.ENOSPC: (_DISK_IS_FULL, _MAKE_ROOM),
    errno.EDQUOT: (
        "Tailor has used all that it may use of the disk of the machine that trains (its quota)",
        "Make room there, or ask the person who runs that machine for a larger quota",
    ),
    errno.EFBIG: (
        "A file grew larger than the machine that trains allows",
        "Ask the person who runs that machine to allow larger files there",
    ),
}
# Libraries in Rust name the number in words only: "No space left on device (os error 28)".
_NUMBER_IN_WORDS: Final = re.compile(r"\(os error (\d+)\)")
_OUT_OF_MEMORY_MARKS: Final = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory"),
    # C++ and the libraries on graphics cards have words of their own.
    *("bad_alloc", "alloc_failed"),
    # oneDNN, when it finds no room for its scratch space.
    *("could not create a primitive", "could not create a memory"),
)
_DETAILS_LENGTH: Final = 8000


class TrainingFailureError(Exception):
    """The run ends here, with a reason that a person can act on.

    Attributes:
        code: one of the contract's codes.
        permanent: whether trying again without a change would end the same way.
        fitting_tokens: how long a row may be so that it fits into memory, if that is what ended it.
        untried_tokens: the same where it could not be tried, so that nobody knows.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        next_step: str,
        *,
        details: str = "",
        permanent: bool = True,
        fitting_tokens: int = 0,
        untried_tokens: int = 0,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.next_step = next_step
        self.details = details
        self.permanent = permanent
        self.fitting_tokens = fitting_tokens
        self.untried_tokens = untried_tokens

    def as_event(self) -> dict[str, str | bool | int]:
        lengths = {"fitting_tokens": self.fitting_tokens, "untried_tokens": self.untried_tokens}
        return {
            **{name: tokens for name, tokens in lengths.items() if tokens},
            "code": self.code,
            "reason": self.reason,
            "next_step": self.next_step,
            "details": self.details,
            "permanent": self.permanent,
        }


def start_unusable(version: int, details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "start_unusable",
        f"The weights of version {version}, from which this training was to go on, cannot be used.",
        "Start again from the base model, or from another version.",
        details=details,
    )


def lost_its_way(step: int, what: str) -> TrainingFailureError:
    """The loss or its gradient left the numbers that a computer can hold."""
    return TrainingFailureError(
        "nan_loss",
        "The training lost its way: the steps were so large that the model's numbers grew beyond "
        "what can be calculated.",
        "Start again with a learning rate ten times lower.",
        details=f"{what} was beyond all sense at step {step}",
    )


def disk_full(needed_bytes: int, free_bytes: int) -> TrainingFailureError:
    """There is not enough room for what is about to be written."""
    room = f"{filesize(needed_bytes)} of room is needed, and {filesize(free_bytes)} is free."
    return _not_saved(_DISK_IS_FULL, _MAKE_ROOM, room)


def write_refused(number: int, details: str) -> TrainingFailureError:
    """The system took no more in the middle of a file; how much was missing, it does not say.

    Args:
        number: of the system's error, one of those in `_WRITES_NO_MORE`.
        details: for the person who runs Tailor.
    """
    return _not_saved(*_WRITES_NO_MORE[number], details=details)


def _not_saved(
    why: str, what_helps: str, room: str = "", details: str = ""
) -> TrainingFailureError:
    sentences = (
        f"{why}, so the progress could not be saved.",
        room,
        "What was saved before is unharmed.",
    )
    return TrainingFailureError(
        "disk_full",
        " ".join(filter(None, sentences)),
        f"{what_helps}, then press “Go on”: the training goes on from where it was last saved.",
        details=details,
        permanent=False,
    )


def no_usable_examples(left_out: int) -> TrainingFailureError:
    return TrainingFailureError(
        "no_usable_examples",
        "None of the examples can be learned from"
        + (
            f": {left_out:,} were left out because no answer was left in them." if left_out else "."
        ),
        "Look at the examples: each needs an answer, or a text of at least two words.",
    )


def one_kind_only() -> TrainingFailureError:
    return TrainingFailureError(
        "one_kind_only",
        "There is nothing to sort: all examples are of one kind.",
        "Add examples of at least one other kind.",
    )


def cannot_sort(name: str, details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "base_model_cannot_sort",
        f"The base model {name} is of a family that cannot be given a head for sorting into kinds.",
        "Choose another base model, or let this one learn to answer with the name of the kind.",
        details=details,
    )


def data_changed(details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "data_changed",
        "The copy of your examples that this training was started with has been changed or "
        "damaged since. The examples of your project are not touched by this.",
        "Start again: the examples are copied anew, as they are now.",
        details=details,
    )


def base_model_missing(name: str, details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "base_model_missing",
        f"The base model {name} cannot be loaded: its files are missing or damaged.",
        "Ask the person who runs Tailor to fetch the model again, or choose another one.",
        details=details,
    )


def base_model_changed(name: str, details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "base_model_changed",
        f"The files of the base model {name} are not the ones this training was started with.",
        "Start a new training: it will use the model as it is now.",
        details=details,
    )


def base_model_refused(name: str, why: str) -> TrainingFailureError:
    return TrainingFailureError(
        "base_model_refused",
        f"The base model {name} is not safe to load. {why}",
        "Choose another base model.",
    )


def method_unsuited(method: str, model: str, why: str, instead: str = "") -> TrainingFailureError:
    """A method cannot be used with a base model.

    Args:
        method: its title.
        model: its name.
        why: as the end of a sentence.
        instead: what would help before another method does, as the beginning of a sentence.
    """
    others = "LoRA, which works with every base model, or another base model"
    return TrainingFailureError(
        "method_unsuited",
        f"{method} cannot be used with the base model {model}, because {why}.",
        f"{instead}. Or choose {others}." if instead else f"Choose {others}.",
    )


def few_bits_missing(details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "method_unsuited",
        "The base model cannot be held in 4 or 8 bits on the machine that was to train it.",
        "Ask the person who runs Tailor to install bitsandbytes on that machine anew, then go on. "
        "Or start a new training with the base model as it is.",
        details=details,
        # The machine is mended, or another one takes it, and it goes on from what was saved.
        permanent=False,
    )


def method_cannot_sort(method: str) -> TrainingFailureError:
    return TrainingFailureError(
        "method_unsuited",
        f"{method} cannot learn to sort into kinds, which needs a small part for it in the model.",
        "Choose LoRA, which can.",
    )


def out_of_memory(
    details: str, fitting_tokens: int = 0, untried_tokens: int = 0
) -> TrainingFailureError:
    """The smallest form of the run does not fit.

    Args:
        details: what the machine said.
        fitting_tokens: the longest row that was tried and fits; 0 if none is known.
        untried_tokens: where none could be tried, the longest one that is worth it; 0 elsewhere.
    """
    shorter = ""
    if fitting_tokens:
        shorter = f"{fitting_tokens:,} tokens: those were tried and fit"
    elif untried_tokens:
        shorter = f"{untried_tokens:,} tokens: whether those fit could not be tried"
    return TrainingFailureError(
        "out_of_memory",
        "The machine's memory is too small for this base model with these settings, even with "
        "everything done that saves memory.",
        "Choose a smaller base model"
        + (f", or start again with examples of at most {shorter}." if shorter else "."),
        details=details,
        fitting_tokens=fitting_tokens,
        untried_tokens=untried_tokens,
    )


def four_bits_next(details: str) -> TrainingFailureError:
    """Only a process that has not held the base model as it is has room for it in 4 bits."""
    return TrainingFailureError(
        "out_of_memory",
        "The machine's memory is too small for the base model as it is.",
        "Tailor tries again in a fresh process, with the base model in 4 bits.",
        details=details,
        permanent=False,
    )


def memory_in_pieces(details: str) -> TrainingFailureError:
    """What a process freed on its way down may lie in pieces too small to be used again."""
    return TrainingFailureError(
        "out_of_memory",
        "Memory ran short until hardly anything more could be loaded.",
        "Tailor tries again in a fresh process, with as little at once as there can be.",
        details=details,
        permanent=False,
    )


def memory_ran_out(details: str) -> TrainingFailureError:
    """Memory ran short where nothing can begin anew; another attempt may find more of it."""
    return TrainingFailureError(
        "out_of_memory",
        "The machine's memory ran out.",
        "Wait until less is going on on that machine, then try again. If it happens again, choose "
        "a smaller base model.",
        details=details,
        permanent=False,
    )


def cannot_be_divided(name: str) -> TrainingFailureError:
    return TrainingFailureError(
        "cannot_be_divided",
        f"{name} cannot be divided over several devices: its files do not say what its layers are.",
        "Choose another base model, or one that fits on one device.",
    )


def team_fell_apart(details: str) -> TrainingFailureError:
    return TrainingFailureError(
        "team_fell_apart",
        "The processes that trained together lost touch with each other.",
        "Try again. If it happens again, train on one device, and show the details to the person "
        "who runs Tailor.",
        details=details,
        permanent=False,
    )


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY_MARKS)


def _refused_write(error: BaseException) -> int | None:
    """Look for the number of a refused write in the error and in what caused it."""
    cause: BaseException | None = error
    while cause is not None:
        named = _NUMBER_IN_WORDS.search(str(cause))
        number = cause.errno if isinstance(cause, OSError) else named and int(named[1])
        if number in _WRITES_NO_MORE:
            return number
        cause = cause.__cause__ or cause.__context__
    return None


def details_of(error: BaseException) -> str:
    """Return where an error came from, for the person who runs Tailor."""
    return "".join(traceback.format_exception(error))[-_DETAILS_LENGTH:]


def describe(error: BaseException) -> TrainingFailureError:
    """Turn whatever ended the run into a failure that can be shown and stored."""
    if isinstance(error, TrainingFailureError):
        return error
    details = details_of(error)
    if number := _refused_write(error):
        return write_refused(number, details)
    if is_out_of_memory(error):
        return memory_ran_out(details)
    return TrainingFailureError(
        "unexpected",
        "The training ended because of a fault that Tailor did not foresee.",
        "Try again. If it happens again, show the details to the person who runs Tailor.",
        details=details,
        permanent=False,
    )
