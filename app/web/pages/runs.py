"""Training: start one, follow it, stop it, start again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.errors import DomainError
from app.projects.tables import Project, Role
from app.runs import few_bits, fit_words, planning, service, steering
from app.runs.continuing import startable_versions
from app.runs.log_file import last_lines
from app.runs.methods import METHODS, Method
from app.runs.objectives import OBJECTIVES, Goal, objectives_of
from app.runs.outcomes import short_outcome
from app.runs.outlook import devices_now
from app.runs.proposals import chosen_objective, propose, with_objective
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.places import QueuePlace
from app.runs.recipe import Preset
from app.runs.recipe_facts import objective_of
from app.runs.status import FINAL, RunStatus
from app.runs.tables import Run
from app.runs.watching.repository import run_states
from app.web.dependencies import (
    CurrentSession,
    CurrentUser,
    DatabaseEngine,
    DatabaseSession,
    EditedProject,
    FileStorage,
    ProjectAccess,
    ViewedProject,
)
from app.web.flashes import redirect
from app.web.gate import wants_page
from app.web.run_feed import Watcher
from app.web.run_views import for_reader
from app.web.sse import Outbox, last_seen, stream
from app.web.templating import render

router = APIRouter()


async def _typed_values(request: Request) -> dict[str, str]:
    """Everything that was typed into the form, so that nothing is lost by a mistake."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


TypedValues = Annotated[dict[str, str], Depends(_typed_values)]


@router.get("/projects/{project_id}/training")
def show_training(
    request: Request, project: ViewedProject, session: DatabaseSession
) -> HTMLResponse:
    """Offer a training; settings that the address names are filled in."""
    return _training_page(request, session, project, dict(request.query_params))


@router.post("/projects/{project_id}/training", response_model=None)
def start_training(
    request: Request,
    project: EditedProject,
    user: CurrentUser,
    engine: DatabaseEngine,
    session: DatabaseSession,
    storage: FileStorage,
    typed: TypedValues,
) -> HTMLResponse | RedirectResponse:
    try:
        preset = _preset(typed)
        choices = planning.read_choices(typed)
        with transaction(engine, read_only=True) as reading:
            model = service.chosen_base_model(reading, project)
            choices = with_objective(choices, typed, propose(reading, project.id))
            frozen = service.freeze_examples(
                reading, storage, project.id, model, choices.objective, choices.start_from
            )
        run = service.start_run(session, storage, project, model, preset, choices, user, frozen)
    except DomainError as error:
        session.rollback()
        return _training_page(request, session, project, typed, error)
    return redirect(request, _address(run))


def _found_run(run_id: str, project: ViewedProject, session: DatabaseSession) -> Run:
    return service.find_run(session, project, run_id)


FoundRun = Annotated[Run, Depends(_found_run)]


def _changed_run(run_id: str, project: EditedProject, session: DatabaseSession) -> Run:
    return service.find_run(session, project, run_id)


ChangedRun = Annotated[Run, Depends(_changed_run)]


@router.get("/projects/{project_id}/runs/{run_id}")
def show_run(
    request: Request,
    run: FoundRun,
    access: ProjectAccess,
    user: CurrentUser,
    signed_in: CurrentSession,
    session: DatabaseSession,
    storage: FileStorage,
) -> HTMLResponse:
    state = run_states(session, [run.id])[0]
    view = request.app.state.run_views.view(
        session, state, _place(session, run), may_edit=access.may(Role.EDITOR)
    )
    return render(
        request,
        "runs/show.html",
        {
            "project": access.project,
            "run": run,
            "is_over": run.status in FINAL,
            # Our own template made it, everything in it escaped.
            "view": Markup(for_reader(view, signed_in.csrf_token)),  # noqa: S704
            # Paths and traces of the machine: only for those who look after it.
            "log_lines": last_lines(storage.path("runs", run.id)) if user.is_admin else None,
            "events_url": f"{_address(run)}/events?after={state.event_count}",
        },
    )


@router.get("/projects/{project_id}/runs/{run_id}/events")
async def follow_run(
    request: Request,
    run: FoundRun,
    access: ProjectAccess,
    signed_in: CurrentSession,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    query = request.query_params
    watcher = Watcher(
        run_id=run.id,
        project_id=run.project_id,
        sign_in_id=signed_in.id,
        form_token=signed_in.csrf_token,
        may_edit=access.may(Role.EDITOR),
        seen=last_seen(last_event_id, query.get("last_event_id"), query.get("after")),
        outbox=Outbox(),
    )
    feed = request.app.state.run_feed
    feed.watch(watcher)
    return stream(watcher.outbox, on_close=lambda: feed.forget(watcher))


@router.post("/projects/{project_id}/runs/{run_id}/cancel")
def cancel_run(request: Request, run: ChangedRun, session: DatabaseSession) -> RedirectResponse:
    steering.cancel_run(session, run)
    return redirect(request, _address(run), "The training was stopped.")


@router.post("/projects/{project_id}/runs/{run_id}/pause")
def pause_run(request: Request, run: ChangedRun, session: DatabaseSession) -> RedirectResponse:
    steering.pause_run(session, run)
    return redirect(request, _address(run), "The training pauses. Nothing of it is lost.")


@router.post("/projects/{project_id}/runs/{run_id}/finish")
def finish_run(request: Request, run: ChangedRun, session: DatabaseSession) -> RedirectResponse:
    steering.finish_run(session, run)
    return redirect(request, _address(run), "The training finishes and keeps its best.")


@router.post("/projects/{project_id}/runs/{run_id}/continue")
def continue_run(request: Request, run: ChangedRun, session: DatabaseSession) -> RedirectResponse:
    steering.continue_run(session, run)
    return redirect(request, _address(run), "The training goes on as soon as it is its turn.")


@router.post("/projects/{project_id}/runs/{run_id}/again")
def start_again(
    request: Request,
    run: ChangedRun,
    user: CurrentUser,
    engine: DatabaseEngine,
    session: DatabaseSession,
    storage: FileStorage,
) -> RedirectResponse:
    # The look-up above holds the one lock for writing on SQLite; freezing may take long.
    session.commit()
    with transaction(engine, read_only=True) as reading:
        model = service.base_model_of(reading, run)
        frozen = service.freeze_examples(
            reading,
            storage,
            run.project_id,
            model,
            objective_of(run),
            service.start_version(run),
        )
    again = service.start_again(session, storage, run, user, frozen)
    return redirect(request, _address(again))


def _address(run: Run) -> str:
    return f"/projects/{run.project_id}/runs/{run.id}"


def _place(session: Session, run: Run) -> QueuePlace | None:
    if run.status != RunStatus.QUEUED:
        return None
    return places_in_queue(session, [run.id]).get(run.id)


def _preset(typed: dict[str, str]) -> Preset:
    try:
        return Preset(typed.get("preset", ""))
    except ValueError:
        return Preset.BALANCED


def _training_page(
    request: Request,
    session: Session,
    project: Project,
    typed: dict[str, str],
    error: DomainError | None = None,
) -> HTMLResponse:
    """The page that starts a training and lists all there were; keeps what was typed."""
    if error is not None and not wants_page(request):
        raise error
    model = service.find_base_model(session, project)
    proposal = propose(session, project.id)
    objective = chosen_objective(typed, proposal)
    offer = proposal.offers.get(objective)
    preset, method = _preset(typed), planning.chosen_method(typed)
    plans = (
        planning.preset_plans(session, model, project.id, offer, method) if model and offer else []
    )
    return render(
        request,
        "runs/training.html",
        {
            "project": project,
            "model": model,
            "model_is_ready": model is not None and service.is_usable(model),
            "proposal": proposal,
            "offer": offer,
            "objective": OBJECTIVES[objective],
            "objective_name": objective,
            "preferences": [
                (name, OBJECTIVES[name].title)
                for name in objectives_of(Goal.PREFER)
                if name in proposal.offers
            ],
            "plans": plans,
            "device_offers": [
                found
                for plan in plans
                if model and offer and plan.preset == preset
                for found in planning.device_offers(session, model, project.id, offer, plan)
            ],
            "choices": planning.CHOICES,
            "typed": typed,
            "chosen": preset,
            "method": METHODS[method],
            "methods": METHODS,
            "form": few_bits.chosen_form(typed),
            "forms": few_bits.form_offers(devices_now(session)),
            "method_name": method,
            "has_choices": any(typed.get(name) for name in planning.field_names())
            or method is not Method.LORA,
            "runs": service.runs_of(session, project),
            "startable": startable_versions(session, project, model, objective),
            "short_outcome": short_outcome,
            "fit_sentences": fit_words.fit_sentences,
            "full_sentence": fit_words.full_sentence,
            "remedies": fit_words.remedies,
            "error": error,
        },
        status_code=error.status_code if error else 200,
    )
