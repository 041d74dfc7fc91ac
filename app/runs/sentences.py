"""What a run's numbers mean, in sentences. Pure: numbers in, words out.

“Surprise” is the loss: how many nats of news an expected answer is to the model, on average per
piece of text. It is measured on examples that the model never learned from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.runs.child_events import Ending
from app.runs.status import RunStatus

# A change by less than this is within what another seed would bring; sentences and verdict agree.
_MUCH: Final = 1.15

_PHASES: Final = {
    "waiting": "Waiting for its turn",
    "starting": "Starting",
    "loading_data": "Reading your examples",
    "loading_model": "Getting the base model ready",
    "measuring_base": "Asking the base model first, to compare later",
    "training": "Learning from your examples",
    "evaluating": "Being checked on what it has never seen",
    "saving": "Saving what was learned",
    "paused": "Paused",
    "finished": "Finished",
}
_MEANINGS: Final = {
    "waiting": "It starts by itself. You can close this page.",
    "starting": "The training process is being started.",
    "loading_data": "Your examples are turned into the small pieces of text that a model reads.",
    "loading_model": "The model that is to learn is loaded into memory.",
    "measuring_base": "This says how good the model was before it learned anything from you.",
    "training": "The model reads your examples again and again and learns a little from each. "
    "You can close this page; it goes on.",
    "evaluating": "Held-out examples show how well it does on what it did not learn.",
    "saving": "Only a moment is left.",
    "paused": "It rests until you let it go on. Nothing of what it has learned is lost.",
    "finished": "",
}


@dataclass(frozen=True)
class PhaseWords:
    title: str
    meaning: str


def phase_words(status: RunStatus, phase: str) -> PhaseWords:
    """Name what a run is doing, for someone who sees it for the first time."""
    match status:
        case RunStatus.FAILED:
            return PhaseWords("Stopped by a problem", "")
        case RunStatus.CANCELLED:
            return PhaseWords("Stopped", "It was stopped before it was done; it makes no version.")
        case RunStatus.SUCCEEDED:
            return PhaseWords("Finished", "")
        case RunStatus.PAUSED:
            phase = "paused"
        case _:
            pass
    title = _PHASES.get(phase, _PHASES["starting"])
    return PhaseWords(title, _MEANINGS.get(phase, ""))


# Where nothing is left to be surprised at, the factor says only how little that is.
_MANY_TIMES: Final = 1_000


def times_word(factor: float) -> str:
    """3.02 -> "3 times", 1.46 -> "1.5 times", and no number that means nothing any more."""
    if factor > _MANY_TIMES:
        return f"over {_MANY_TIMES:,} times"
    rounded = round(factor) if factor >= 9.95 else round(factor, 1)
    return f"{rounded:,g} times"


def learning_sentence(held_out: Sequence[tuple[float, float]], learned: str = "answers") -> str:
    """Say how the surprise at held-out examples has changed, while it learns.

    Args:
        held_out: (step, held-out loss).
        learned: what it learns of the examples, see `ObjectiveSpec.learned_words`.
    """
    points = [(step, loss) for step, loss in held_out if math.isfinite(loss)]
    if not points:
        return "The first measurement on held-out examples is still to come."
    if len(points) == 1:
        return f"This is where it starts: how surprised it is at your {learned} before learning."
    before, now = points[0][1], points[-1][1]
    best = min(loss for _, loss in points)
    if now > best * _MUCH and before > now:
        return (
            f"It finds your {learned} {times_word(before / now)} less surprising than before, but "
            "was better a while ago; the best state is the one that will be kept."
        )
    return _compared(before, now, f"now finds your {learned}")


def training_only_sentence(
    training: Sequence[tuple[float, float]], learned: str = "answers"
) -> str:
    """Say how it goes where too few examples are there to hold any out."""
    points = [loss for _, loss in training if math.isfinite(loss)]
    if len(points) < 2:
        return "The first measurement is still to come."
    return (
        _compared(points[0], points[-1], f"now finds your {learned}")
        + " No example was held out, so this says only how well it knows what it was shown."
    )


def result_sentence(before: float | None, after: float | None, learned: str = "answers") -> str:
    """Say what came of it, from the held-out loss before and after."""
    if before is None or after is None:
        return (
            "There were too few examples to hold some out, so whether it got better can only be "
            "seen by trying it."
        )
    return _compared(before, after, f"finds your {learned}")


def lineage_sentence(start: Mapping[str, Any] | None) -> str:
    """Say which version a run went on from, and what was new; empty if it began with the base.

    Args:
        start: the recipe's `continues_from`.
    """
    if not start:
        return ""
    new = int(start.get("new_examples", 0))
    known = "1 example is new." if new == 1 else f"{new:,} examples are new."
    said = f"It goes on from version {start['version']}; {known if new else 'no example is new.'}"
    moved = int(start.get("no_longer_held_out", 0))
    if moved:
        were = "1 example that would" if moved == 1 else f"{moved:,} examples that would"
        said += (
            f" {were} be held out {'was' if moved == 1 else 'were'} learned by it already, and so "
            f"{'is' if moved == 1 else 'are'} not measured with."
        )
    return said


def against_start_sentence(
    start: Mapping[str, Any] | None, at_start: float | None, after: float | None
) -> str:
    """Compare a run with the version that it went on from; empty if there is nothing to compare."""
    if not start or at_start is None or after is None:
        return ""
    version = f"version {start['version']}"
    match verdict(at_start, after):
        case "better":
            return f"That is {times_word(at_start / after)} less surprising than to {version}."
        case "worse":
            cause = (
                "what was new has cost something"
                if start.get("new_examples")
                else "the further passes have made it worse"
            )
            return (
                f"To {version} they were {times_word(after / at_start)} less surprising: {cause}. "
                "That version is still there."
            )
        case _:
            return f"To {version} they were about as surprising."


def short_against_start(
    start: Mapping[str, Any] | None, at_start: float | None, after: float | None
) -> str:
    """Say the same in a few words, for a table."""
    if not start or at_start is None or after is None:
        return ""
    words = {"better": "Better than", "worse": "Worse than", "same": "About as good as"}
    found = words.get(verdict(at_start, after))
    return f"{found} version {start['version']}" if found else ""


def ending_sentence(result: Mapping[str, Any], patience: int) -> str:
    """Say that and why a run learned less long than was planned; empty if it did not.

    Args:
        result: a result event's fields.
        patience: after so many checks without a lower loss it was to stop by itself.
    """
    planned, done = result.get("planned_steps"), int(result.get("steps") or 0)
    kept = int(result.get("best_step") or done)
    best = f"keeps its best state, that of step {kept:,}."
    match result.get("ending") if planned else None:
        case Ending.ASKED:
            said = f"It was asked to finish after step {done:,} of {planned:,}"
            return f"{said}." if kept == done else f"{said}, and {best}"
        case Ending.NO_BETTER:
            return (
                f"It stopped by itself after step {done:,} of {planned:,}: {_checks(patience)} on "
                f"the held-out examples had brought nothing better. It {best}"
            )
        case _:
            return ""


def patience_sentence(held_out: Sequence[tuple[float, float]], patience: int) -> str:
    """Say when a run that learns would stop by itself; empty if it never does.

    Args:
        held_out: (step, held-out loss), that of the base model first, at step 0.
        patience: after so many checks without a lower loss it stops.
    """
    if not patience:
        return ""
    losses = [loss for step, loss in held_out if step > 0]
    in_vain = len(losses) - 1 - losses.index(min(losses)) if losses else 0
    if not in_vain:
        return (
            f"It stops earlier after {_checks(patience)} on the held-out examples without "
            "anything better."
        )
    left = max(1, patience - in_vain)
    vain = "The last check" if in_vain == 1 else f"The last {in_vain} checks"
    more = "one more check" if left == 1 else f"{left} more checks"
    return (
        f"{vain} on the held-out examples brought nothing better; after {more} like that it stops "
        "by itself and keeps its best state."
    )


def _checks(count: int) -> str:
    return "one check" if count == 1 else f"{count} checks in a row"


def passes(done: float | None, planned: int) -> str:
    """Say how often a run goes, or went, through its examples: "3", or "1.5 of 3 planned"."""
    is_whole = done is None or done >= planned
    return f"{planned:,}" if is_whole else f"{done:.2g} of {planned:,} planned"


def verdict(before: float | None, after: float | None) -> str:
    """Return better, same, worse or unknown."""
    if before is None or after is None or not (before > 0 and after > 0):
        return "unknown"
    if before / after >= _MUCH:
        return "better"
    return "worse" if after / before >= _MUCH else "same"


def short_result(before: float | None, after: float | None) -> str:
    """Say in a few words, for a table, what came of a run; empty if nothing was measured."""
    match verdict(before, after):
        case "better" if before and after:
            return f"{_at_first(times_word(before / after))} less surprised by held-out examples"
        case "worse" if before and after:
            return f"{_at_first(times_word(after / before))} more surprised by held-out examples"
        case "same":
            return "About as surprised by held-out examples as before"
        case _:
            return ""


def data_sentence(examples_cut: int, examples_left_out: int) -> str:
    """Say what happened to examples that were too long; empty if nothing did."""
    parts = []
    if examples_cut:
        parts.append(
            f"{_examples(examples_cut)} too long to read at once; what comes before the answer was "
            "shortened, never the answer."
        )
    if examples_left_out:
        parts.append(
            f"{_examples(examples_left_out)} left out, because the answer was too long or empty."
        )
    return " ".join(parts)


def _examples(count: int) -> str:
    return "1 example was" if count == 1 else f"{count:,} examples were"


def _at_first(words: str) -> str:
    """Write words as they stand at the beginning of a line."""
    return words[0].upper() + words[1:]


def _compared(before: float, now: float, finds: str) -> str:
    if not (before > 0 and now > 0):
        return f"It {finds} hardly surprising at all."
    if before / now >= _MUCH:
        return f"It {finds} {times_word(before / now)} less surprising than before."
    if now / before >= _MUCH:
        return (
            f"It {finds} {times_word(now / before)} more surprising than before. "
            "That is worse; more examples, or fewer passes over them, may help."
        )
    return (
        f"It {finds} about as surprising as before. "
        "Not much has changed; more examples or a more thorough training may help."
    )
