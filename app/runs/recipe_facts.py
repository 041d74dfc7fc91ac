"""What a recipe says about its method, for the pages: name, value, and what it means."""

from collections.abc import Mapping
from typing import Any, Final

from app.runs.methods import METHODS, Method, Quantization
from app.runs.objectives import OBJECTIVES, Objective, objective_in
from app.runs.recipe import up_to_date
from app.runs.setting import find_setting
from app.runs.tables import Run

Fact = tuple[str, str, str]
_BITS: Final = {Quantization.EIGHT_BIT: "8 bits", Quantization.FOUR_BIT: "4 bits"}


def method_facts(content: Mapping[str, Any]) -> list[Fact]:
    """Return the facts of a recipe's JSON, as far as it can be understood."""
    recipe = up_to_date(content)
    name = recipe.get("method", Method.LORA)
    if name not in list(Method):
        return [("Method", str(name), "This version of Tailor does not know it.")]
    spec = METHODS[Method(name)]
    facts = [*_objective_facts(recipe), ("Method", spec.title, spec.sentence)]
    for setting_name, value in recipe.get("method_settings", {}).items():
        setting = find_setting(spec.settings, setting_name)
        if setting is not None:
            facts.append((setting.label, setting.in_words(value), setting.meaning))
    form = recipe.get("quantization", Quantization.NONE)
    if form in _BITS:
        meaning = "Fewer bits take less memory and are less exact; 16 or 32 are usual."
        facts.append(("Base model held in", _BITS[form], meaning))
    return facts


def objective_of(run: Run) -> Objective:
    """Return what a run learns."""
    return objective_in(run.recipe)


def _objective_facts(recipe: Mapping[str, Any]) -> list[Fact]:
    name = recipe.get("objective", Objective.ANSWERS)
    if name not in list(Objective):
        return []
    spec = OBJECTIVES[Objective(name)]
    facts = [("What it learns", spec.title, spec.sentence)]
    for setting_name, value in recipe.get("objective_settings", {}).items():
        setting = find_setting(spec.settings, setting_name)
        if setting is not None:
            facts.append((setting.label, setting.in_words(value), setting.meaning))
    return facts
