"""The page that starts a training and lists all there were."""

from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.errors import DomainError
from app.projects.tables import Project
from app.runs import few_bits, fit_words, planning, service
from app.runs.continuing import startable_versions
from app.runs.errors import UnusableChoicesError
from app.runs.methods import METHODS, Method
from app.runs.objectives import OBJECTIVES, Goal, objectives_of
from app.runs.outcomes import short_outcome
from app.runs.outlook import Known, devices_now
from app.runs.proposals import Proposal, chosen_objective, propose
from app.runs.recipe import Preset, RecipeChoices
from app.web.gate import wants_page
from app.web.templating import render

KNOWS_FIT: Final = "knows_fit"
"""The field that says that whoever sends the form has read that memory may not suffice."""


def chosen_preset(typed: dict[str, str]) -> Preset:
    try:
        return Preset(typed.get("preset", ""))
    except ValueError:
        return Preset.BALANCED


def training_page(
    request: Request,
    session: Session,
    project: Project,
    typed: dict[str, str],
    error: DomainError | None = None,
) -> HTMLResponse:
    """Return the page as it is filled in; keeps what was typed, with what it would take.

    Raises:
        DomainError: the one that was given, if no page is wanted.
    """
    if error is not None and not wants_page(request):
        raise error
    model = service.find_base_model(session, project)
    proposal = propose(session, project.id)
    choices = RecipeChoices(method=planning.chosen_method(typed))
    try:
        choices = planning.chosen_in_form(session, project, typed, proposal)
    except DomainError as unusable:
        error = error or unusable
    context = {
        "project": project,
        "model": model,
        "model_is_ready": model is not None and service.is_usable(model),
        "typed": typed,
        "problems": _by_field(error),
        "knows_fit": KNOWS_FIT,
        "runs": service.runs_of(session, project),
        "short_outcome": short_outcome,
        "fit_sentences": fit_words.fit_sentences,
        "full_sentence": fit_words.full_sentence,
        "remedies": fit_words.remedies,
        **_what_is_learned(typed, proposal),
        **_what_it_takes(session, project, model, typed, proposal, choices),
        **_for_experts(session, typed, choices, proposal),
    }
    status = error.status_code if error else 200
    return render(request, "runs/training.html", context, status_code=status)


def _by_field(error: DomainError | None) -> dict[str, DomainError]:
    """Return each problem by the field beside which it is told; "" is for the head of the page."""
    problems = error.problems if isinstance(error, UnusableChoicesError) else (error,)
    return {problem.field: problem for problem in problems if problem is not None}


def _what_is_learned(typed: dict[str, str], proposal: Proposal) -> dict[str, Any]:
    objective = chosen_objective(typed, proposal)
    return {
        "proposal": proposal,
        "offer": proposal.offers.get(objective),
        "objective": OBJECTIVES[objective],
        "objective_name": objective,
        "preferences": {
            name: OBJECTIVES[name] for name in objectives_of(Goal.PREFER) if name in proposal.offers
        },
    }


def _what_it_takes(
    session: Session,
    project: Project,
    model: BaseModel | None,
    typed: dict[str, str],
    proposal: Proposal,
    choices: RecipeChoices,
) -> dict[str, Any]:
    objective, preset = chosen_objective(typed, proposal), chosen_preset(typed)
    offer = proposal.offers.get(objective)
    plans, device_offers = [], []
    if model is not None and offer is not None:
        known = Known.of(session, project.id, [model])
        plans = planning.preset_plans(known, model, offer, choices)
        chosen = next(plan for plan in plans if plan.preset == preset)
        device_offers = planning.device_offers(known, model, offer, chosen)
    return {
        "plans": plans,
        "chosen": preset,
        "device_offers": device_offers,
        "startable": startable_versions(session, project, model, objective),
    }


def _for_experts(
    session: Session, typed: dict[str, str], choices: RecipeChoices, proposal: Proposal
) -> dict[str, Any]:
    method, objective = choices.method or Method.LORA, chosen_objective(typed, proposal)
    is_changed = (
        method is not Method.LORA
        or objective is not proposal.usual(OBJECTIVES[objective].goal)
        or any(typed.get(name) for name in planning.field_names())
    )
    return {
        "choices": planning.CHOICES,
        "method": METHODS[method],
        "method_name": method,
        "methods": METHODS,
        "form": few_bits.chosen_form(typed),
        "forms": few_bits.form_offers(devices_now(session)),
        "has_choices": is_changed,
    }
