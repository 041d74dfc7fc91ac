"""In how few bits the base model is held while it learns: what can be chosen, and where it runs.

The choice is shown even where it cannot be had, with the reason, so that nobody looks for it in
vain. Whether a machine can is found out there by trying (worker/device_trial/few_bits.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.runs.errors import FewBitsNotHereError, MethodNotInFewBitsError
from app.runs.methods import METHODS, Method, Quantization
from app.runs.recipe import RecipeChoices
from app.workers.device import DeviceFacts

FIELD: Final = "base_form"
_NOBODY_THERE: Final = "No machine that trains is there at the moment, so nobody knows."


class BaseForm(StrEnum):
    """How an expert wants the base model to be held."""

    USUAL = ""
    WHOLE = "none"
    EIGHT_BIT = "8bit"
    FOUR_BIT = "4bit"


@dataclass(frozen=True)
class FormWords:
    title: str
    sentence: str


FORMS: Final[dict[BaseForm, FormWords]] = {
    BaseForm.USUAL: FormWords(
        "As it is, smaller only if it must be",
        "The most exact way. Where memory runs short and nothing else helps, the training goes on "
        "with a smaller model in memory (4 bits) instead of ending.",
    ),
    BaseForm.WHOLE: FormWords(
        "As it is, whatever happens",
        "Where memory runs short and nothing else helps, the training ends.",
    ),
    BaseForm.EIGHT_BIT: FormWords(
        "Smaller model in memory (8 bits)",
        "The base model's layers take about half of the memory that they take in 16 bits, and are "
        "hardly less exact. Each step takes longer.",
    ),
    BaseForm.FOUR_BIT: FormWords(
        "Smaller model in memory (4 bits)",
        "The base model's layers take about a quarter of the memory that they take in 16 bits, and "
        "are a little less exact (QLoRA). Each step takes longer.",
    ),
}


@dataclass(frozen=True)
class FormOffer:
    """A form as the page shows it; greyed where there is an obstacle."""

    form: BaseForm
    words: FormWords
    obstacle: str


def form_offers(devices: Sequence[DeviceFacts]) -> list[FormOffer]:
    """Return all forms, with the reason why one cannot be had on any of the devices."""
    return [FormOffer(form, words, obstacle(form, devices)) for form, words in FORMS.items()]


def obstacle(form: str, devices: Sequence[DeviceFacts]) -> str:
    """Say why no device can hold a base model in a form; empty if one can."""
    if form not in (Quantization.EIGHT_BIT, Quantization.FOUR_BIT):
        return ""
    obstacles = [device.obstacle_to(form) for device in devices]
    if "" in obstacles:
        return ""
    return " ".join(dict.fromkeys(obstacles)) or _NOBODY_THERE


def chosen_form(typed: Mapping[str, str]) -> BaseForm:
    """Return the form that was chosen on the page, or the usual one."""
    try:
        return BaseForm(typed.get(FIELD, ""))
    except ValueError:
        return BaseForm.USUAL


def form_choices(form: BaseForm) -> dict[str, Any]:
    """Return what a form says in terms of a recipe."""
    match form:
        case BaseForm.USUAL:
            return {}
        case BaseForm.WHOLE:
            return {"quantization": Quantization.NONE, "four_bits_if_short": False}
        case _:
            return {"quantization": Quantization(form)}


def form_of(recipe: Mapping[str, Any]) -> BaseForm:
    """Return the form with which a recipe's JSON was asked for."""
    quantization = recipe.get("quantization", Quantization.NONE)
    if quantization != Quantization.NONE:
        return BaseForm(quantization)
    return BaseForm.USUAL if recipe.get("four_bits_if_short", False) else BaseForm.WHOLE


def check_few_bits(choices: RecipeChoices, devices: Sequence[DeviceFacts]) -> None:
    """Refuse a form of few bits that the method does not know or no device can hold.

    Raises:
        MethodNotInFewBitsError, FewBitsNotHereError: saying which and why.
    """
    form = choices.quantization or Quantization.NONE
    if form is Quantization.NONE:
        return
    spec = METHODS[choices.method or Method.LORA]
    title = FORMS[BaseForm(form)].title
    if form not in spec.quantizations:
        raise MethodNotInFewBitsError(FIELD, spec.title, title)
    why = obstacle(form, devices)
    if why:
        raise FewBitsNotHereError(FIELD, title, why)
