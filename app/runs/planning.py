"""What a training would be like, before it is started: for the page that offers it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy.orm import Session

from app.base_models.repository import get as get_base_model
from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import TransformerShape, shape_from_facts
from app.datasets.advice import USUAL_CHARACTERS
from app.errors import InvalidInputError
from app.projects.tables import Project
from app.runs.continuing import with_method_of
from app.runs.errors import (
    MayNotFitError,
    MethodCannotSortError,
    UnusableChoiceError,
    UnusableChoicesError,
)
from app.runs.estimates import bytes_per_token
from app.runs.few_bits import FIELD as FORM_FIELD
from app.runs.few_bits import chosen_form, form_choices, form_of
from app.runs.fit_words import fit_sentences
from app.runs.methods import METHODS, Family, Method
from app.runs.objectives import OBJECTIVES, Objective, checked_objective_settings
from app.runs.outlook import Known, Outlook, run_outlook
from app.runs.proposals import Offer, Proposal, chosen_objective, propose
from app.runs.recipe import FittedSettings, Preset, Recipe, RecipeChoices, up_to_date
from app.runs.recipe_facts import Fact, objective_of
from app.runs.service import find_base_model, settings_for
from app.runs.setting import NO, YES, Setting, SettingValue
from app.runs.several_devices import counts_on_offer, read_devices, words_for
from app.runs.tables import Run

_LARGEST_VERSION: Final = 2**31 - 1
_NOTHING_CHOSEN: Final = RecipeChoices()


@dataclass(frozen=True)
class PresetPlan:
    """What one preset would do with the data as it is now."""

    preset: Preset
    settings: FittedSettings
    updates: int
    outlook: Outlook


def preset_plans(
    known: Known, model: BaseModel, offer: Offer, choices: RecipeChoices
) -> list[PresetPlan]:
    """Return what each preset would do with what is offered, and with what an expert chose."""
    return [_preset_plan(known, model, offer, preset, choices) for preset in Preset]


def chosen_in_form(
    session: Session, project: Project, typed: dict[str, str], proposal: Proposal
) -> RecipeChoices:
    """Return what the form says, as a training that is started with it takes it.

    Raises:
        UnusableChoicesError: with a problem for each field that cannot be used.
        DomainError: if the version to go on from cannot be used.
    """
    choices = read_choices(typed, proposal)
    return with_method_of(session, project.id, choices, choices.start_from)


def check_fit(
    session: Session,
    project: Project,
    model: BaseModel,
    preset: Preset,
    choices: RecipeChoices,
    proposal: Proposal,
) -> None:
    """Refuse what may not fit into the memory of the devices that are there.

    Raises:
        MayNotFitError: saying how much it needs.
    """
    offer = proposal.offers.get(choices.objective)
    if offer is None:
        return
    known = Known.of(session, project.id, [model])
    choices = with_method_of(session, project.id, choices, choices.start_from)
    outlook = _preset_plan(known, model, offer, preset, choices).outlook
    if not outlook.fits_on(choices.devices or 1):
        raise MayNotFitError(" ".join(fit_sentences(outlook)))


def balanced_outlooks(
    session: Session, models: Sequence[BaseModel], project_id: str
) -> dict[str, Outlook]:
    """Return what the usual training of a project would take on each base model, by its id.

    It is a training for what is proposed; empty if the project has no examples yet.
    """
    proposal = propose(session, project_id)
    offer = proposal.offers.get(proposal.objective)
    if offer is None:
        return {}
    known = Known.of(session, project_id, models)
    return {
        model.id: _preset_plan(known, model, offer, Preset.BALANCED).outlook for model in models
    }


def _preset_plan(
    known: Known,
    model: BaseModel,
    offer: Offer,
    preset: Preset,
    choices: RecipeChoices = _NOTHING_CHOSEN,
) -> PresetPlan:
    train_count = max(1, offer.usable - offer.held_out)
    choices = choices.model_copy(update={"objective": offer.objective})
    settings = settings_for(model, preset, train_count, choices).changed_by(choices)
    counts = (offer.objective, train_count, offer.held_out)
    outlook = run_outlook(known, model, settings, *counts)
    return PresetPlan(preset, settings, settings.updates(train_count), outlook)


@dataclass(frozen=True)
class DeviceOffer:
    """On how many devices a training may learn.

    Attributes:
        name: how many of what, for people.
        title: what they are called together.
        seconds: how long it takes if all of them are free.
    """

    count: int
    name: str
    title: str
    seconds: float


def device_offers(
    known: Known, model: BaseModel, offer: Offer, plan: PresetPlan
) -> list[DeviceOffer]:
    """Return what can be chosen; nothing where no machine has more than one device."""
    words = words_for([facts.kind for facts in known.devices if facts.count > 1])
    train_count = max(1, offer.usable - offer.held_out)
    counts = (offer.objective, train_count, offer.held_out)
    work = (known, model, plan.settings, *counts)
    return [
        DeviceOffer(count, words.count(count), words.title, run_outlook(*work, count).seconds)
        for count in counts_on_offer(known.devices)
    ]


def characters_at_once(session: Session, project: Project) -> int:
    """Return about how long an example a training with the project's base model reads at once."""
    model = find_base_model(session, project)
    if model is None:
        return USUAL_CHARACTERS
    tokens = settings_for(model, Preset.BALANCED, 1).max_tokens_per_example
    shape = shape_from_facts(model.facts) or TransformerShape.usual_for(0)
    return round(tokens * bytes_per_token(shape.vocabulary))


@dataclass(frozen=True)
class Choice:
    """A setting that an expert may change.

    Attributes:
        name: its name in RecipeChoices, and of the form's field.
        label: its name for people.
        meaning: one sentence that explains it.
    """

    name: str
    label: str
    meaning: str
    lowest: float
    highest: float
    is_whole: bool = True

    def read(self, typed: Mapping[str, str]) -> float | None:
        """Return the number that was typed, or None if nothing was.

        Raises:
            UnusableChoiceError: if it is no number or lies outside of its bounds.
        """
        text = typed.get(self.name, "").strip().replace(",", "")
        if not text:
            return None
        try:
            value = int(text) if self.is_whole else float(text)
        except ValueError:
            value = math.nan
        if not self.lowest <= value <= self.highest:
            allowed = f"a number from {self.lowest:g} to {self.highest:g}"
            raise UnusableChoiceError(self.name, self.label, allowed)
        return value


CHOICES: Final = (
    Choice(
        "epochs",
        "Passes over the examples (epochs)",
        "How often the model sees every example; too many and it learns them by heart.",
        1,
        100,
    ),
    Choice(
        "learning_rate",
        "Step size (learning rate)",
        "How far each step moves the model; too large and it loses its way.",
        1e-6,
        1.0,
        is_whole=False,
    ),
    Choice(
        "examples_per_update",
        "Examples per step (batch)",
        "How many examples are looked at before each step.",
        1,
        512,
    ),
    Choice(
        "max_tokens_per_example",
        "Longest example (tokens)",
        "Of longer ones only the end of the question is read; a token is about four letters.",
        32,
        131_072,
    ),
    Choice(
        "evaluations",
        "Checks on held-out examples",
        "How often it is asked what it never learned from; each check takes a moment.",
        1,
        100,
    ),
    Choice(
        "patience",
        "Patience (early stop)",
        "After so many checks in a row that bring nothing new it stops; 0 never stops early.",
        0,
        100,
    ),
    Choice(
        "seed",
        "Starting number (seed)",
        "The same number and the same examples give the same model again.",
        0,
        2**31 - 1,
    ),
)


Reader = Callable[[Mapping[str, str]], SettingValue | None]
"""Reads one field of the form; None if nothing was chosen in it."""


def setting_facts(recipe: Mapping[str, Any], passes: str) -> list[Fact]:
    """Return the numbers that a training learns with, under the names that the form has for them.

    Args:
        recipe: a recipe's JSON.
        passes: how often it goes, or went, through its examples.
    """
    values = {
        "epochs": passes,
        "learning_rate": f"{recipe['learning_rate']:g}",
        "examples_per_update": f"{recipe['examples_per_update']:,}",
        "seed": str(recipe["seed"]),
    }
    return [
        (choice.label, values[choice.name], choice.meaning)
        for choice in CHOICES
        if choice.name in values
    ]


def read_choices(typed: Mapping[str, str], proposal: Proposal) -> RecipeChoices:
    """Turn what the form says into choices; what is empty keeps the rule's value.

    Raises:
        UnusableChoicesError: with a problem for each field that cannot be used.
    """
    method, objective = chosen_method(typed), chosen_objective(typed, proposal)
    problems: list[InvalidInputError] = []
    plain: dict[str, Reader] = {choice.name: choice.read for choice in CHOICES}
    plain |= {"start_from": _read_start, "devices": read_devices}
    values = _read_all(plain, typed, problems)
    of_method = _readers(method, METHODS[method].settings)
    of_objective = _readers(objective, OBJECTIVES[objective].settings)
    method_settings = _read_all(of_method, typed, problems)
    objective_settings = _read_all(of_objective, typed, problems)
    if OBJECTIVES[objective].sorts and METHODS[method].family is not Family.LAYERS:
        problems.append(MethodCannotSortError(METHODS[method].title))
    if problems:
        raise UnusableChoicesError(problems)
    return RecipeChoices.model_validate(
        {
            **values,
            **form_choices(chosen_form(typed)),
            "method": method,
            "method_settings": method_settings,
            "objective": objective,
            "objective_settings": objective_settings,
        }
    )


def _read_all(
    readers: Mapping[str, Reader], typed: Mapping[str, str], problems: list[InvalidInputError]
) -> dict[str, SettingValue]:
    """Return what was chosen; what cannot be used is added to the problems."""
    values: dict[str, SettingValue] = {}
    for name, read in readers.items():
        try:
            value = read(typed)
        except UnusableChoiceError as problem:
            problems.append(problem)
        else:
            if value is not None:
                values[name] = value
    return values


def _readers(owner: str, settings: Sequence[Setting]) -> dict[str, Reader]:
    return {setting.name: partial(_read_setting, owner, setting) for setting in settings}


def _read_setting(owner: str, setting: Setting, typed: Mapping[str, str]) -> SettingValue | None:
    field = field_name(owner, setting)
    text = typed.get(field, "").strip()
    if not text:
        return None
    value = setting.read(text)
    if value is None:
        raise UnusableChoiceError(field, setting.label, setting.allowed)
    return value


def _read_start(typed: Mapping[str, str]) -> int | None:
    """Return the version to go on from, or None for the base model."""
    text = typed.get("start_from", "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_VERSION:
        raise UnusableChoiceError("start_from", "Start from", "one of the versions in the list")
    return int(text)


def chosen_method(typed: Mapping[str, str]) -> Method:
    """Return the method that was chosen in the form, or the usual one."""
    try:
        return Method(typed.get("method", ""))
    except ValueError:
        return Method.LORA


def usual_settings(session: Session, run: Run) -> FittedSettings | None:
    """Return what the rules would have chosen for a run; None if its base model is gone."""
    model = get_base_model(session, run.base_model_id)
    recipe = up_to_date(run.recipe)
    if model is None or recipe.get("method", Method.LORA) not in list(Method):
        return None
    choices = RecipeChoices(
        method=Method(recipe.get("method", Method.LORA)), objective=objective_of(run)
    )
    return settings_for(model, Preset(recipe["preset"]), run.train_count, choices)


def typed_like(run: Run, usual: FittedSettings) -> dict[str, str]:
    """Return the form of a training as it was filled in for a run, as far as it was no rule."""
    recipe = up_to_date(run.recipe)
    rules = usual.model_dump() | {"seed": Recipe.model_fields["seed"].default}
    typed = {"preset": str(recipe["preset"])}
    if usual.method != Method.LORA:
        typed["method"] = usual.method
    typed |= _objective_like(objective_of(run), recipe)
    if recipe.get("continues_from"):
        typed["start_from"] = str(recipe["continues_from"]["version"])
    if recipe.get("devices", 1) > 1:
        typed["devices"] = str(recipe["devices"])
    if form := form_of(recipe):
        typed[FORM_FIELD] = form
    for name in (choice.name for choice in CHOICES):
        value = recipe.get(name, rules[name])
        if value != rules[name]:
            typed[name] = _as_typed(value)
    for setting in METHODS[usual.method].settings:
        given = recipe.get("method_settings", {}).get(setting.name)
        if given is not None and given != usual.method_settings[setting.name]:
            typed[field_name(usual.method, setting)] = _as_typed(given)
    return typed


def _objective_like(objective: Objective, recipe: Mapping[str, Any]) -> dict[str, str]:
    if objective is Objective.ANSWERS:
        return {}
    usual = checked_objective_settings(objective, {})
    given = recipe.get("objective_settings") or {}
    unusual = {name: value for name, value in given.items() if value != usual.get(name)}
    return {
        "goal": OBJECTIVES[objective].goal,
        "objective": objective,
        **{f"{objective}.{name}": _as_typed(value) for name, value in unusual.items()},
    }


def _as_typed(value: SettingValue) -> str:
    if isinstance(value, bool):
        return YES if value else NO
    return f"{value:g}" if isinstance(value, float) else str(value)


def field_name(owner: str, setting: Setting) -> str:
    """Return the form field of a setting; every method has its own, so all can be on one page."""
    return f"{owner}.{setting.name}"


def field_names() -> list[str]:
    """Return the names of all fields that an expert may fill in."""
    methods = [(str(name), spec.settings) for name, spec in METHODS.items()]
    objectives = [(str(name), spec.settings) for name, spec in OBJECTIVES.items()]
    return [FORM_FIELD, *(choice.name for choice in CHOICES)] + [
        field_name(owner, setting)
        for owner, settings in (*methods, *objectives)
        for setting in settings
    ]
