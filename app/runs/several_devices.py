"""One run on several devices of a machine: what is offered, what was typed, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.datasets.snapshot import Snapshot
from app.runs.errors import UnusableChoiceError
from app.runs.methods import METHODS, Quantization
from app.runs.outlook import Known, run_outlook
from app.runs.recipe import MOST_DEVICES, Recipe
from app.workers.device import DeviceFacts, DeviceKind


@dataclass(frozen=True)
class DeviceWords:
    """What the devices that are offered are called."""

    one: str
    several: str

    def count(self, number: int) -> str:
        return f"{number} {self.one if number == 1 else self.several}"

    @property
    def title(self) -> str:
        return self.several[0].upper() + self.several[1:]


_WORDS = {
    DeviceKind.CUDA: DeviceWords("graphics card", "graphics cards"),
    DeviceKind.CPU: DeviceWords("part of the processor", "parts of the processor"),
}
_ANY = DeviceWords("device", "devices")


def words_for(kinds: Sequence[str]) -> DeviceWords:
    """Return how devices of these kinds are called together."""
    found = set(kinds)
    return _WORDS.get(DeviceKind(found.pop()), _ANY) if len(found) == 1 else _ANY


def counts_on_offer(devices: Sequence[DeviceFacts]) -> list[int]:
    """Return on how many devices a run may learn; nothing where no machine has more than one."""
    most = min(max((facts.count for facts in devices), default=1), MOST_DEVICES)
    if most == 1:
        return []
    doubled = [count for count in (1, 2, 4, 8) if count < most]
    return [*doubled, most]


def read_devices(typed: Mapping[str, str]) -> int | None:
    """Return on how many devices it may learn; None if nothing was chosen.

    Raises:
        UnusableChoiceError: if that is no number that a recipe allows.
    """
    text = typed.get("devices", "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_DEVICES:
        raise UnusableChoiceError("devices", "Devices", f"a number from 1 to {MOST_DEVICES}")
    return int(text)


def divided_if_needed(
    session: Session, model: BaseModel, project_id: str, recipe: Recipe, snapshot: Snapshot
) -> Recipe:
    """Return the recipe, with the base model divided over its devices if it fits on none alone."""
    may_be_divided = (
        recipe.devices > 1
        and METHODS[recipe.method].base_stays_frozen
        and recipe.quantization is Quantization.NONE
    )
    if not may_be_divided:
        return recipe
    counts = (recipe.objective, snapshot.train_count, snapshot.validation_count, recipe.devices)
    known = Known.of(session, project_id, [model])
    whole = run_outlook(known, model, recipe, *counts)
    if any(device.plan.fits_in_small_steps for device in whole.devices):
        return recipe
    divided = recipe.model_copy(update={"divides_model": True})
    outlook = run_outlook(known, model, divided, *counts)
    fits = any(
        device.plan.fits_in_small_steps and device.count >= recipe.devices
        for device in outlook.devices
    )
    return divided if fits else recipe


def devices_sentence(recipe: Mapping[str, Any], device: Mapping[str, Any] | None) -> str:
    """Say on how many devices a run learns, where one was not all that was asked for."""
    wanted = int(recipe.get("devices", 1))
    if wanted == 1 or device is None:
        return ""
    words, count = words_for([str(device["kind"])]), 1 + len(device.get("further", ()))
    if recipe.get("divides_model"):
        return f"The base model is divided over {words.count(count)}, for it fits on none alone."
    if count == wanted:
        return f"It learns on {words.count(count)} at once."
    return (
        f"It learns on {words.count(count)} of the {wanted} that it may use: no more were free "
        "when it began."
    )
