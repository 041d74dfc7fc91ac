"""An import on its way: waiting, choosing columns, the report."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.datasets import mapping as mappings
from app.datasets import service
from app.datasets.errors import UnusableMappingError
from app.datasets.readers.drafts import Mapping
from app.datasets.readers.records import ColumnRole
from app.datasets.report import LEFT_OUT_FILE
from app.datasets.repository import ImportCursor
from app.datasets.tables import Import, ImportStatus
from app.datasets.uploads import PASTED_NAME, pasted_text
from app.datasets.wording import (
    OFFERED_ENCODINGS,
    ROLE_NAMES,
    format_words,
    may_be_wrong_about_letters,
    notices,
    reason_sentence,
)
from app.errors import DomainError, NotFoundError
from app.jobs import LIGHT_QUEUE
from app.projects.tables import Project
from app.web.dependencies import (
    DatabaseEngine,
    DatabaseSession,
    EditedProject,
    FileStorage,
    ViewedProject,
)
from app.web.flashes import redirect
from app.web.security import LONGEST_FORM_BYTES
from app.web.templating import render
from app.workers.repository import is_anyone_there

router = APIRouter()

Roles = Annotated[list[ColumnRole], Form()]
Tick = Annotated[str, Form()]
CursorQuery = Annotated[str, Query(pattern=r"^(\d{1,17}-[0-9a-f]{16})?$")]

_TEMPLATES = {
    ImportStatus.AWAITING_MAPPING: "imports/mapping.html",
    ImportStatus.IMPORTED: "imports/report.html",
    ImportStatus.FAILED: "imports/report.html",
}


@router.get("/projects/{project_id}/imports")
def show_history(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    after: CursorQuery = "",
    before: CursorQuery = "",
) -> Response:
    page = service.list_imports(session, project.id, after=_cursor(after), before=_cursor(before))
    context = {"project": project, "page": page, "may_edit": request.state.may_edit}
    return render(request, "imports/index.html", context)


@router.get("/projects/{project_id}/imports/{import_id}")
def show(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    storage: FileStorage,
    import_id: str,
) -> Response:
    entry = service.find_import(session, project.id, import_id)
    is_pasted = (
        entry.status == ImportStatus.FAILED
        and entry.file_name == PASTED_NAME
        and entry.size_bytes <= LONGEST_FORM_BYTES
    )
    pasted = pasted_text(storage, entry.id) if is_pasted else ""
    return _page(request, session, project, entry, pasted=pasted)


@router.get("/projects/{project_id}/imports/{import_id}/progress")
def show_progress(
    request: Request, project: ViewedProject, session: DatabaseSession, import_id: str
) -> HTMLResponse:
    """The part of the waiting page that a script renews; its header says whether it still waits."""
    entry = service.find_import(session, project.id, import_id)
    context = {"entry": entry, **_progress(session, entry)}
    response = render(request, "imports/_progress.html", context)
    response.headers["x-import-status"] = entry.status
    return response


@router.post("/projects/{project_id}/imports/{import_id}")
def confirm(
    request: Request,
    project: EditedProject,
    session: DatabaseSession,
    import_id: str,
    roles: Roles,
    has_header: Tick = "",
    strips_html: Tick = "",
    action: Annotated[str, Form()] = "preview",
) -> Response:
    chosen = Mapping(roles, has_header == "yes", strips_html == "yes")
    entry = service.find_import(session, project.id, import_id)
    if action != "import":
        return _page(request, session, project, entry, chosen)
    try:
        service.confirm_import(session, project.id, import_id, chosen)
    except UnusableMappingError as error:
        return _page(request, session, project, entry, chosen, error)
    return redirect(request, f"/projects/{project.id}/imports/{import_id}")


@router.post("/projects/{project_id}/imports/{import_id}/encoding")
def read_anew(
    request: Request,
    project: EditedProject,
    session: DatabaseSession,
    import_id: str,
    encoding: Annotated[str, Form()],
) -> Response:
    service.read_anew(session, project.id, import_id, encoding)
    return redirect(request, f"/projects/{project.id}/imports/{import_id}")


@router.get("/projects/{project_id}/imports/{import_id}/left-out.csv")
def download_left_out(
    project: ViewedProject, session: DatabaseSession, storage: FileStorage, import_id: str
) -> Response:
    entry = service.find_import(session, project.id, import_id)
    path = storage.path("uploads", entry.id, LEFT_OUT_FILE)
    if not path.is_file():
        raise NotFoundError("This list does not exist.")
    return FileResponse(path, media_type="text/csv; charset=utf-8", filename="left-out-rows.csv")


@router.post("/projects/{project_id}/imports/{import_id}/delete")
def delete(
    request: Request,
    project: EditedProject,
    engine: DatabaseEngine,
    session: DatabaseSession,
    storage: FileStorage,
    import_id: str,
) -> Response:
    deleted = some = _delete_some(engine, project.id, import_id)
    while some == service.DELETE_AT_ONCE:
        some = _delete_some(engine, project.id, import_id)
        deleted += some
    deleted += service.delete_import(session, storage, project.id, import_id)
    words = "1 example" if deleted == 1 else f"{deleted:,} examples"
    return redirect(
        request,
        f"/projects/{project.id}/examples",
        f"The import is deleted, and {words} with it." if deleted else "The import is deleted.",
    )


def _cursor(text: str) -> ImportCursor | None:
    if not text:
        return None
    moment, identity = text.split("-")
    return ImportCursor(int(moment), identity)


def _delete_some(engine: Engine, project_id: str, import_id: str) -> int:
    """One short transaction, so that others who write come in between."""
    with transaction(engine) as session:
        return service.delete_some_of_import(session, project_id, import_id)


def _page(
    request: Request,
    session: Session,
    project: Project,
    entry: Import,
    chosen: Mapping | None = None,
    error: DomainError | None = None,
    pasted: str = "",
) -> Response:
    context: dict[str, object] = {
        "project": project,
        "entry": entry,
        "pasted": pasted,
        "may_edit": request.state.may_edit,
        "error": error,
        "reason_sentence": reason_sentence,
        **_progress(session, entry),
    }
    if entry.report is not None:
        context["files_with_its_copies"] = service.files_with_its_copies(session, entry)
    if entry.status == ImportStatus.AWAITING_MAPPING and entry.understood is not None:
        context |= _mapping_context(entry.understood, chosen)
    template = _TEMPLATES.get(entry.status, "imports/waiting.html")
    return render(request, template, context, status_code=error.status_code if error else 200)


def _progress(session: Session, entry: Import) -> dict[str, object]:
    understood = entry.understood or {}
    return {
        "row_count": understood.get("row_count", 0),
        "has_worker": is_anyone_there(session, LIGHT_QUEUE),
    }


def _mapping_context(understood: dict[str, object], chosen: Mapping | None) -> dict[str, object]:
    proposed = mappings.proposed_mapping(understood)
    mapping = proposed
    if chosen is not None and len(chosen.roles) == len(proposed.roles):
        mapping = chosen
    notes = understood["notes"]
    codes = {note["code"] for note in notes} if isinstance(notes, list) else set()
    return {
        "understood": understood,
        "words": format_words(understood),
        "notices": notices(understood),
        "mapping": mapping,
        "roles": [(role, ROLE_NAMES[role]) for role in mappings.offered_roles(understood)],
        "rows": mappings.preview_rows(understood, mapping),
        "examples": mappings.preview_examples(understood, mapping)[:3],
        "is_table": mappings.is_table(understood),
        "has_html": "html" in codes,
        "encodings": list(OFFERED_ENCODINGS.items())
        if may_be_wrong_about_letters(understood)
        else [],
    }
