"""What a person can do about a run that stopped: a button that helps, not one that fails again."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.runs.status import RunStatus
from app.runs.tables import Run

_SMALLER_STEPS: Final = 10.0


class Way(StrEnum):
    """Where the button leads."""

    GO_ON = "go_on"
    """The same run, from where it was last saved."""
    AGAIN = "again"
    """A new run with the same settings, on the examples as they are now."""
    ADJUST = "adjust"
    """The page that starts a training, with other settings filled in."""
    OTHER_MODEL = "other_model"
    """The page where a base model is chosen."""
    EXAMPLES = "examples"
    """The page of the examples."""


@dataclass(frozen=True)
class Remedy:
    """A button.

    Attributes:
        choices: settings that are to be others than they were, by the names of RecipeChoices.
    """

    way: Way
    label: str
    choices: dict[str, str] = field(default_factory=dict)


def can_go_on(run: Run) -> bool:
    """Say whether the run itself may be tried again: it waits, or the machine was at fault."""
    if run.status == RunStatus.PAUSED:
        return True
    return run.status == RunStatus.FAILED and not (run.failure or {}).get("permanent", True)


def remedy(run: Run) -> Remedy:
    """Return what helps best with a run that is paused or failed."""
    if can_go_on(run):
        again = "Go on" if run.status == RunStatus.PAUSED else "Try again"
        return Remedy(Way.GO_ON, f"Go on from step {run.step:,}" if run.step else again)
    code = str((run.failure or {}).get("code", ""))
    recipe = run.recipe
    match code:
        case "nan_loss":
            rate = float(recipe.get("learning_rate", 0)) / _SMALLER_STEPS
            return Remedy(Way.ADJUST, "Choose smaller steps", {"learning_rate": f"{rate:g}"})
        case "out_of_memory":
            return _with_less_memory(run)
        case "base_model_missing" | "base_model_refused":
            return Remedy(Way.OTHER_MODEL, "Look at the base model")
        case "no_usable_examples":
            return Remedy(Way.EXAMPLES, "Look at the examples")
        case _:
            return Remedy(Way.AGAIN, "Start again with the same settings")


def _with_less_memory(run: Run) -> Remedy:
    """Offer shorter examples where they fit, or may; elsewhere only a smaller model helps."""
    failure = run.failure or {}
    shorter = int(failure.get("fitting_tokens") or failure.get("untried_tokens") or 0)
    if 0 < shorter < int(run.recipe.get("max_tokens_per_example", 0)):
        choices = {"max_tokens_per_example": str(shorter)}
        return Remedy(Way.ADJUST, "Choose shorter examples", choices)
    return Remedy(Way.OTHER_MODEL, "Choose a smaller base model")
