"""The shelf of base models, and the choice of one for a project."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.adapters.uses import delete_unused
from app.base_models import secrets, service
from app.base_models.errors import UnknownBaseModelError
from app.base_models.folders import register_folder
from app.base_models.shelf import on_shelf, shelf
from app.base_models.tables import BaseModel
from app.errors import DomainError
from app.jobs import LIGHT_QUEUE
from app.projects.service import choose_base_model
from app.projects.tables import Project
from app.runs.outlook import devices_now
from app.runs.planning import balanced_outlooks
from app.settings import Settings
from app.web.base_model_cards import card_of, lay_out, may_manage
from app.web.dependencies import (
    AdminUser,
    AppSettings,
    CurrentUser,
    DatabaseSession,
    EditedProject,
    FileStorage,
    ViewedProject,
)
from app.web.flashes import redirect
from app.web.templating import render
from app.workers.repository import is_anyone_there

router = APIRouter()

Text = Annotated[str, Form()]
_SHELF = "/base-models"


@router.get(_SHELF)
def show_shelf(
    request: Request, user: CurrentUser, session: DatabaseSession, settings: AppSettings
) -> Response:
    return _shelf_page(request, session, settings, user)


@router.get("/base-models/cards")
def show_cards(
    request: Request, user: CurrentUser, session: DatabaseSession, settings: AppSettings
) -> Response:
    """The shelf alone, for a page that keeps itself up to date."""
    return render(request, "base_models/_cards.html", _cards(session, settings, user))


@router.post("/base-models/shelf/{slug}/download")
def download_from_shelf(
    request: Request,
    user: CurrentUser,
    session: DatabaseSession,
    settings: AppSettings,
    slug: str,
) -> Response:
    entry = on_shelf(settings, slug)
    if entry is None:
        raise UnknownBaseModelError
    service.download_from_shelf(session, settings, entry, user.id)
    return redirect(request, f"{_SHELF}#model-{slug.replace('.', '-')}")


@router.post("/base-models/hub")
def download_from_hub(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    settings: AppSettings,
    hub_id: Text = "",
    revision: Text = "",
) -> Response:
    try:
        model = service.download_from_hub(session, settings, hub_id, revision, user.id)
    except DomainError as error:
        typed = {"hub_id": hub_id, "revision": revision}
        return _shelf_page(request, session, settings, user, "hub", error, typed)
    return redirect(request, f"{_SHELF}#model-{model.id}")


@router.post("/base-models/folders")
def add_folder(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    settings: AppSettings,
    path: Text = "",
    name: Text = "",
    licence: Text = "",
) -> Response:
    try:
        model = register_folder(session, settings, path, name, licence, user.id)
    except DomainError as error:
        typed = {"path": path, "name": name, "licence": licence}
        return _shelf_page(request, session, settings, user, "folder", error, typed)
    return redirect(request, f"{_SHELF}#model-{model.id}")


@router.post("/base-models/token")
def store_token(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    settings: AppSettings,
    storage: FileStorage,
    token: Text = "",
) -> Response:
    try:
        secrets.store_hub_token(session, settings, storage, token)
    except DomainError as error:
        return _shelf_page(request, session, settings, user, "token", error)
    return redirect(request, _SHELF, "The access token is stored. It is never shown again.")


@router.post("/base-models/token/forget")
def forget_token(request: Request, _: AdminUser, session: DatabaseSession) -> Response:
    secrets.forget_hub_token(session)
    return redirect(request, _SHELF, "The access token is forgotten.")


@router.get("/base-models/{base_model_id}")
def show_model(
    request: Request,
    user: CurrentUser,
    session: DatabaseSession,
    settings: AppSettings,
    base_model_id: str,
) -> Response:
    model = service.find(session, base_model_id)
    return _model_page(request, session, settings, user, model)


@router.post("/base-models/{base_model_id}/stop")
def stop(
    request: Request, user: CurrentUser, session: DatabaseSession, base_model_id: str
) -> Response:
    model = _managed(session, user, base_model_id)
    service.stop(session, model)
    return redirect(request, _SHELF)


@router.post("/base-models/{base_model_id}/again")
def try_again(
    request: Request,
    user: CurrentUser,
    session: DatabaseSession,
    settings: AppSettings,
    base_model_id: str,
) -> Response:
    model = _managed(session, user, base_model_id)
    service.try_again(session, settings, model)
    return redirect(request, _SHELF)


@router.post("/base-models/{base_model_id}/check")
def check_again(
    request: Request, _: AdminUser, session: DatabaseSession, base_model_id: str
) -> Response:
    model = service.find(session, base_model_id)
    service.check_again(session, model)
    return redirect(request, _SHELF, f"{model.name} is checked once more.")


@router.post("/base-models/{base_model_id}/name")
def rename(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    settings: AppSettings,
    storage: FileStorage,
    base_model_id: str,
    name: Text = "",
) -> Response:
    model = service.find(session, base_model_id)
    try:
        service.rename(session, storage, model, name)
    except DomainError as error:
        return _model_page(request, session, settings, user, model, error)
    return redirect(request, f"{_SHELF}/{model.id}", "Saved.")


@router.post("/base-models/{base_model_id}/delete")
def delete(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    settings: AppSettings,
    storage: FileStorage,
    base_model_id: str,
) -> Response:
    model = service.find(session, base_model_id)
    try:
        delete_unused(session, storage, model)
    except DomainError as error:
        return _model_page(request, session, settings, user, model, error)
    return redirect(request, _SHELF, f"{model.name} is deleted.")


@router.get("/projects/{project_id}/base-model")
def show_choice(
    request: Request,
    project: ViewedProject,
    user: CurrentUser,
    session: DatabaseSession,
    settings: AppSettings,
) -> Response:
    return _choice_page(request, session, settings, user, project)


@router.post("/projects/{project_id}/base-model")
def choose(
    request: Request,
    project: EditedProject,
    user: CurrentUser,
    session: DatabaseSession,
    settings: AppSettings,
    base_model_id: Text = "",
) -> Response:
    try:
        model = service.find_ready(session, base_model_id)
    except DomainError as error:
        return _choice_page(request, session, settings, user, project, error)
    choose_base_model(session, project, model.id)
    return redirect(
        request,
        f"/projects/{project.id}/base-model",
        f"The next training starts from {model.name}.",
    )


def _managed(session: Session, user: User, base_model_id: str) -> BaseModel:
    model = service.find(session, base_model_id)
    if not may_manage(user, model):
        raise UnknownBaseModelError
    return model


def _cards(session: Session, settings: Settings, user: User) -> dict[str, Any]:
    on_it, others = lay_out(
        user, shelf(settings), service.all_models(session), devices_now(session)
    )
    return {
        "shelf_cards": on_it,
        "other_cards": others,
        "is_busy": any(card.is_busy for card in (*on_it, *others)),
        "has_worker": is_anyone_there(session, LIGHT_QUEUE),
        "is_offline": settings.offline,
        "is_admin": user.is_admin,
        "has_token": secrets.has_hub_token(session),
        "hub_url": settings.hub_url,
    }


def _shelf_page(
    request: Request,
    session: Session,
    settings: Settings,
    user: User,
    form: str = "",
    error: DomainError | None = None,
    typed: dict[str, str] | None = None,
) -> HTMLResponse:
    context = {
        **_cards(session, settings, user),
        "model_folders": settings.model_folders,
        "form": form,
        "error": error,
        "typed": typed or {},
    }
    status_code = error.status_code if error else 200
    return render(request, "base_models/shelf.html", context, status_code=status_code)


def _model_page(
    request: Request,
    session: Session,
    settings: Settings,
    user: User,
    model: BaseModel,
    error: DomainError | None = None,
) -> HTMLResponse:
    context = {
        "card": card_of(user, shelf(settings), model, devices_now(session)),
        "has_worker": is_anyone_there(session, LIGHT_QUEUE),
        "hub_url": settings.hub_url,
        "is_admin": user.is_admin,
        "error": error,
    }
    status_code = error.status_code if error else 200
    return render(request, "base_models/show.html", context, status_code=status_code)


def _choice_page(
    request: Request,
    session: Session,
    settings: Settings,
    user: User,
    project: Project,
    error: DomainError | None = None,
) -> HTMLResponse:
    on_it, others = lay_out(
        user, shelf(settings), service.all_models(session), devices_now(session)
    )
    known = [card for card in (*on_it, *others) if card.model is not None]
    chosen = next((card for card in known if card.model_id == project.base_model_id), None)
    ready = [card for card in known if card.is_ready]
    models = [card.model for card in ready if card.model is not None]
    outlooks = balanced_outlooks(session, models, project.id)
    context = {
        "project": project,
        "ready": [replace(card, outlook=outlooks.get(card.model_id or "")) for card in ready],
        "busy": [card for card in known if card.is_busy],
        "has_worker": is_anyone_there(session, LIGHT_QUEUE),
        "chosen": chosen,
        "was_removed": project.base_model_id is not None and chosen is None,
        "may_edit": request.state.may_edit,
        "starter_id": service.STARTER_ID,
        "is_offline": settings.offline,
        "error": error,
    }
    status_code = error.status_code if error else 200
    return render(request, "base_models/choose.html", context, status_code=status_code)
