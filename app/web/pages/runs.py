"""Training: start one, follow it, stop it, start again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.errors import DomainError
from app.projects.tables import Role
from app.runs import planning, service, steering
from app.runs.log_file import last_lines
from app.runs.proposals import propose
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.places import QueuePlace
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
from app.web.training_page import KNOWS_FIT, chosen_preset, training_page

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
    return training_page(request, session, project, dict(request.query_params))


@router.post("/projects/{project_id}/training/outlook")
def show_what_it_takes(
    request: Request, project: EditedProject, session: DatabaseSession, typed: TypedValues
) -> HTMLResponse:
    """Say what the training would take as the form is filled in now; nothing is started."""
    return training_page(request, session, project, typed)


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
        preset = chosen_preset(typed)
        with transaction(engine, read_only=True) as reading:
            model = service.chosen_base_model(reading, project)
            proposal = propose(reading, project.id)
            choices = planning.read_choices(typed, proposal)
            if wants_page(request) and KNOWS_FIT not in typed:
                planning.check_fit(reading, project, model, preset, choices, proposal)
            frozen = service.freeze_examples(
                reading, storage, project.id, model, choices.objective, choices.start_from
            )
        run = service.start_run(session, storage, project, model, preset, choices, user, frozen)
    except DomainError as error:
        session.rollback()
        return training_page(request, session, project, typed, error)
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
