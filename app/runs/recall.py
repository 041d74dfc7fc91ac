"""Whether a training changed anything, and if not, why: ten of its own examples are asked again.

“It trained, but nothing changed” is what people meet most often. After the last step the base model
and the tuned one answer the same few training questions, word by word without any chance, and the
surprise at a few training examples is measured with both. What follows from the counts is decided
here; nothing of this needs a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum
from math import ceil
from typing import Any, Final

from app.runs.child_events import Ending
from app.runs.objectives import ANSWER_WEIGHT, OBJECTIVES, objective_in

_ALIKE: Final = 0.95
_LONGEST_COMPARED: Final = 600
# Nearly all answers the same, and the surprise at the examples hardly less: nothing changed.
_NEARLY_ALL: Final = 0.8
_HARDLY_FELL: Final = 0.8
# Or the surprise stayed what it was, and many answers, too. Not nearly all: where two words are
# equally likely, the smallest change makes the other one win, and all that follows is different.
_STAYED: Final = (0.95, 1.05)
_MANY: Final = 0.5
_SMALL_STEPS: Final = 3.0
_FEW_STEPS: Final = 30
_ENOUGH_STEPS: Final = 60
_LARGEST_RATE: Final = 1.0
_MOST_EPOCHS: Final = 100
_LONGEST_EXAMPLE: Final = 131_072


def are_alike(
    one: str, other: str, *, one_is_cut: bool = False, other_is_cut: bool = False
) -> bool:
    """Say whether two answers are the same to a reader: but for a few letters in a hundred.

    Args:
        one: an answer.
        other: another one.
        one_is_cut: it was cut off, so the other one may go on where it breaks off. One that ended
            before that is another answer, however alike they begin.
        other_is_cut: the same of the other one.
    """
    one, other = " ".join(one.split()), " ".join(other.split())
    length = min(
        len(one) if one_is_cut else _LONGEST_COMPARED,
        len(other) if other_is_cut else _LONGEST_COMPARED,
    )
    one, other = one[:length], other[:length]
    return one == other or SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE


class Cause(StrEnum):
    KNEW_IT = "knew_it"
    """The base model gave the examples' own answers already."""
    ONLY_COMPARED = "only_compared"
    """It learned what people prefer, and not the answers that they prefer."""
    SMALL_STEPS = "small_steps"
    FEW_STEPS = "few_steps"
    ENDED_EARLY = "ended_early"
    CUT_ROWS = "cut_rows"
    WEAK = "weak"
    """Nothing of these: it would have to learn more, or in larger steps."""


@dataclass(frozen=True)
class Unchanged:
    """A training that changed nothing.

    Attributes:
        what: one sentence that says so.
        why: one sentence that says why.
        label: what the button says; empty where no other settings would help.
        choices: the settings that mend it, by the names of RecipeChoices.
    """

    cause: Cause
    what: str
    why: str
    label: str = ""
    choices: dict[str, str] = field(default_factory=dict)


def is_unchanged(recall: Mapping[str, Any], *, compares: bool = False) -> bool:
    """Say whether the tuned model answers as the base model does.

    Args:
        recall: the counts of a result event: asked, alike, right, loss_before, loss_after.
        compares: whether the losses compare answers; such a loss may fall to nothing while all
            answers stay what they were, so it says nothing of them.
    """
    asked, alike = int(recall.get("asked") or 0), int(recall.get("alike") or 0)
    before, after = recall.get("loss_before"), recall.get("loss_after")
    left = float(after) / float(before) if before and after is not None else None
    if compares and asked:
        left = None
    stayed = left is not None and _STAYED[0] <= left <= _STAYED[1]
    if stayed and alike >= _MANY * asked:
        return True
    if not asked:
        return False
    return alike == asked or (
        alike >= _NEARLY_ALL * asked and (left is None or left > _HARDLY_FELL)
    )


def find_unchanged(
    recipe: Mapping[str, Any],
    plan: Mapping[str, Any],
    result: Mapping[str, Any],
    usual_rate: float | None,
    longest_example: int | None = None,
) -> Unchanged | None:
    """Return what to say of a run that changed nothing, or None if it changed something.

    Args:
        recipe: the recipe's JSON.
        plan: the plan event's fields.
        result: the result event's fields.
        usual_rate: the learning rate that the rules choose for this base model and method.
        longest_example: how many tokens of an example the base model can read; None if nobody
            knows.
    """
    recall = result.get("recall")
    compares = OBJECTIVES[objective_in(recipe)].prefers
    if not isinstance(recall, Mapping) or not is_unchanged(recall, compares=compares):
        return None
    asked, alike = int(recall.get("asked") or 0), int(recall.get("alike") or 0)
    what = (
        f"It has learned, but {alike} of {asked} questions from its own examples are answered as "
        "before."
        if asked and alike >= _NEARLY_ALL * asked
        else "It has learned, but is as surprised at its own examples as before."
    )
    if asked and int(recall.get("right") or 0) >= _NEARLY_ALL * asked:
        why = "The base model gave your answers already, so there was nothing for it to learn here."
        return Unchanged(Cause.KNEW_IT, what, why)
    for look in (_only_compared, _small_steps, _ended_early, _few_steps):
        found = look(what, recipe, plan, result, usual_rate)
        if found is not None:
            return found
    return _cut_rows(what, recipe, plan, longest_example) or _weak(what, recipe)


def _only_compared(
    what: str,
    recipe: Mapping[str, Any],
    _plan: Mapping[str, Any],
    _result: Mapping[str, Any],
    _usual_rate: float | None,
) -> Unchanged | None:
    objective = objective_in(recipe)
    given = recipe.get("objective_settings") or {}
    if not OBJECTIVES[objective].weighs_answers or float(given.get(ANSWER_WEIGHT) or 0.0) > 0.0:
        return None
    why = (
        "It has learned to tell the answers that people like from the others, which it can do "
        "without answering differently."
    )
    choices = {f"{objective}.{ANSWER_WEIGHT}": "1"}
    label = "Train again and learn the liked answers, too"
    return Unchanged(Cause.ONLY_COMPARED, what, why, label, choices)


def _small_steps(
    what: str,
    recipe: Mapping[str, Any],
    _plan: Mapping[str, Any],
    _result: Mapping[str, Any],
    usual_rate: float | None,
) -> Unchanged | None:
    rate = float(recipe.get("learning_rate") or 0.0)
    if usual_rate is None or rate * _SMALL_STEPS > usual_rate:
        return None
    why = (
        f"Its steps were very small: a learning rate of {_plain(rate)}, where {_plain(usual_rate)} "
        "is usual for this base model."
    )
    choices = {"learning_rate": _plain(usual_rate)}
    return Unchanged(Cause.SMALL_STEPS, what, why, "Train again with the usual steps", choices)


def _ended_early(
    what: str,
    _recipe: Mapping[str, Any],
    _plan: Mapping[str, Any],
    result: Mapping[str, Any],
    _usual_rate: float | None,
) -> Unchanged | None:
    done, planned = int(result.get("steps") or 0), int(result.get("planned_steps") or 0)
    if result.get("ending") != Ending.ASKED or done * 2 > planned:
        return None
    why = f"It was asked to finish after {done:,} of {planned:,} steps, which was too early."
    return Unchanged(Cause.ENDED_EARLY, what, why, "Train again to the end")


def _few_steps(
    what: str,
    recipe: Mapping[str, Any],
    plan: Mapping[str, Any],
    result: Mapping[str, Any],
    _usual_rate: float | None,
) -> Unchanged | None:
    done = int(result.get("steps") or 0)
    a_pass = max(1, int(plan.get("steps_per_epoch") or 1))
    epochs = min(_MOST_EPOCHS, ceil(_ENOUGH_STEPS / a_pass))
    if done >= _FEW_STEPS or epochs <= int(recipe.get("epochs") or 0):
        return None
    why = f"It made only {_steps(done)}, which is too few to change how it answers."
    return Unchanged(
        Cause.FEW_STEPS, what, why, "Train again with more passes", {"epochs": str(epochs)}
    )


def _cut_rows(
    what: str,
    recipe: Mapping[str, Any],
    plan: Mapping[str, Any],
    most: int | None,
) -> Unchanged | None:
    cut, left_out = (int(plan.get(name) or 0) for name in ("examples_cut", "examples_left_out"))
    read = sum(int(plan.get(name) or 0) for name in ("train_examples", "validation_examples"))
    if (cut + left_out) * 2 < read + left_out:
        return None
    longest = int(recipe.get("max_tokens_per_example") or 0)
    why = (
        f"Most examples were longer than the {longest:,} tokens that it reads at once: "
        f"{cut:,} were shortened and {left_out:,} left out."
    )
    longer = min(2 * longest, _LONGEST_EXAMPLE, most or _LONGEST_EXAMPLE)
    if longer <= longest:
        advice = "The base model can read no more: shorten your examples, or choose another one."
        return Unchanged(Cause.CUT_ROWS, what, f"{why} {advice}")
    choices = {"max_tokens_per_example": str(longer)}
    return Unchanged(Cause.CUT_ROWS, what, why, "Train again with longer examples", choices)


def _weak(what: str, recipe: Mapping[str, Any]) -> Unchanged:
    rate = min(_LARGEST_RATE, _SMALL_STEPS * float(recipe.get("learning_rate") or 0.0))
    epochs = min(_MOST_EPOCHS, 2 * int(recipe.get("epochs") or 1))
    why = "What it changed in the model is too little to show in its answers."
    choices = {"learning_rate": _plain(rate), "epochs": str(epochs)}
    return Unchanged(Cause.WEAK, what, why, "Train again, further and in larger steps", choices)


def _plain(rate: float) -> str:
    """Return a small number as people write it: 0.000001, not 1e-06."""
    return f"{rate:.9f}".rstrip("0").rstrip(".")


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"
