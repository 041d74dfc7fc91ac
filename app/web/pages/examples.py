"""The examples of a project: the list, the ways to add some, and one at a time."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.database.patience import patient_transaction
from app.datasets import service
from app.datasets.advice import advise
from app.datasets.errors import (
    ChangedMeanwhileError,
    DeletedMeanwhileError,
    NothingPastedError,
)
from app.datasets.repository import Cursor
from app.datasets.service import WrittenExample
from app.datasets.shapes import Shape, prompt_of
from app.datasets.tables import Example
from app.datasets.uploads import PASTED_NAME, IncomingFile
from app.errors import DomainError
from app.jobs import LIGHT_QUEUE
from app.projects.tables import Project
from app.runs.planning import characters_at_once
from app.settings import Settings
from app.web.dependencies import (
    AppSettings,
    CurrentUser,
    DatabaseEngine,
    DatabaseSession,
    EditedProject,
    FileStorage,
    ViewedProject,
)
from app.web.entrance import safe_next
from app.web.flashes import redirect
from app.web.gate import wants_page
from app.web.incoming import announced_bytes, receive_file
from app.web.long_forms import LongFormRoute
from app.web.templating import render
from app.workers.repository import is_anyone_there

router = APIRouter()
long_forms = APIRouter(route_class=LongFormRoute)

# For so long a finished upload waits for a database that is away.
_REGISTER_SECONDS: Final = 40.0

Text = Annotated[str, Form()]
OrderQuery = Annotated[Literal["newest", "oldest", "row"], Query()]
CursorQuery = Annotated[str, Query(pattern=r"^(\d{1,10}-\d{1,19})?$")]
SearchQuery = Annotated[str, Query(max_length=500)]
ShapeQuery = Annotated[Shape, Query()]


def _written(
    question: Text = "",
    answer: Text = "",
    instructions: Text = "",
    rejected: Text = "",
    thumb: Text = "up",
    shape: Annotated[Shape, Form()] = Shape.ANSWER,
) -> WrittenExample:
    return WrittenExample(question, answer, instructions, shape, rejected, thumb != "down")


Written = Annotated[WrittenExample, Depends(_written)]


def _asked_back(project: ViewedProject, back: Annotated[str, Query()] = "") -> str:
    return _way_back(project, back)


def _typed_back(project: ViewedProject, back: Text = "") -> str:
    return _way_back(project, back)


AskedBack = Annotated[str, Depends(_asked_back)]
"""Where whoever opens an example came from: the list, as it was searched, ordered and turned."""
TypedBack = Annotated[str, Depends(_typed_back)]
"""The same, out of the form."""


@router.get("/projects/{project_id}/examples")
def show_list(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    settings: AppSettings,
    search: SearchQuery = "",
    order: OrderQuery = "newest",
    after: CursorQuery = "",
    before: CursorQuery = "",
) -> Response:
    page = service.list_examples(
        session,
        project.id,
        search=search,
        order=order,
        after=_cursor(after),
        before=_cursor(before),
    )
    values = {"page": page, "search": search, "order": order, "after": after, "before": before}
    return _list_page(request, session, project, settings, values)


@router.post("/projects/{project_id}/examples/upload")
async def upload(
    request: Request,
    project: EditedProject,
    user: CurrentUser,
    engine: DatabaseEngine,
    storage: FileStorage,
    settings: AppSettings,
) -> Response:
    incoming = IncomingFile(storage, settings.max_upload_bytes)
    await run_in_threadpool(incoming.expect, announced_bytes(request))
    try:
        with incoming:
            name = await receive_file(request, incoming)
            await run_in_threadpool(incoming.keep)
            await run_in_threadpool(_register, engine, project.id, user.id, incoming, name)
    except ClientDisconnect:
        # Nobody is there to read an answer; the file is gone already.
        return Response(status_code=400)
    url = f"/projects/{project.id}/imports/{incoming.import_id}"
    return redirect(request, url) if wants_page(request) else JSONResponse({"url": url})


@long_forms.post("/projects/{project_id}/examples/paste")
def paste(
    request: Request,
    project: EditedProject,
    user: CurrentUser,
    engine: DatabaseEngine,
    session: DatabaseSession,
    storage: FileStorage,
    settings: AppSettings,
    text: Text = "",
) -> Response:
    incoming = IncomingFile(storage, settings.max_upload_bytes)
    try:
        if not text.strip():
            raise NothingPastedError
        with incoming:
            incoming.write(text.encode("utf-8", "replace"))
            incoming.keep()
            _register(engine, project.id, user.id, incoming, PASTED_NAME)
    except DomainError as error:
        values = {"page": service.list_examples(session, project.id), "text": text}
        return _list_page(request, session, project, settings, values, error)
    return redirect(request, f"/projects/{project.id}/imports/{incoming.import_id}")


@router.get("/projects/{project_id}/examples/new")
def show_new(
    request: Request, project: EditedProject, back: AskedBack, shape: ShapeQuery = Shape.ANSWER
) -> Response:
    return _form_page(request, project, WrittenExample("", "", shape=shape), back)


@long_forms.post("/projects/{project_id}/examples/new")
def write(
    request: Request,
    project: EditedProject,
    session: DatabaseSession,
    settings: AppSettings,
    written: Written,
    back: TypedBack,
) -> Response:
    try:
        service.write_example(session, project.id, written, settings.max_examples)
    except DomainError as error:
        return _form_page(request, project, written, back, error=error)
    # Not back: there, a search could hide it. In the whole list it stands first.
    return redirect(request, _list_url(project), "The example is in.")


@router.get("/projects/{project_id}/examples/{example_id}")
def show_one(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    example_id: int,
    back: AskedBack,
) -> Response:
    example = service.find_example(session, project.id, example_id)
    written, shown_hash = WrittenExample.of(example), example.content_hash
    return _form_page(request, project, written, back, example, shown_hash=shown_hash)


@long_forms.post("/projects/{project_id}/examples/{example_id}")
def edit(
    request: Request,
    project: EditedProject,
    session: DatabaseSession,
    example_id: int,
    written: Written,
    back: TypedBack,
    shown_hash: Text = "",
) -> Response:
    try:
        service.edit_example(session, project.id, example_id, written, shown_hash or None)
    except DeletedMeanwhileError as error:
        # The form of a new example: nothing that was typed is lost.
        return _form_page(request, project, written, back, error=error)
    except DomainError as error:
        example = service.find_example(session, project.id, example_id)
        return _form_page(request, project, written, back, example, error, shown_hash)
    return redirect(request, back, "The example is changed.")


@router.post("/projects/{project_id}/examples/{example_id}/delete")
def delete(
    request: Request,
    project: EditedProject,
    session: DatabaseSession,
    example_id: int,
    back: TypedBack,
) -> Response:
    service.delete_example(session, project.id, example_id)
    return redirect(request, back, "The example is deleted.")


def _register(
    engine: DatabaseEngine, project_id: str, user_id: str, incoming: IncomingFile, name: str
) -> None:
    """Write the import down in a transaction of its own: a file without a row is taken back.

    A long upload is not thrown away because the database is being started again just now.
    """
    patient_transaction(
        engine,
        lambda session: service.register_upload(
            session,
            project_id=project_id,
            user_id=user_id,
            import_id=incoming.import_id,
            file_name=name,
            size=incoming.size,
        ),
        _REGISTER_SECONDS,
    )


def _list_url(project: Project) -> str:
    return f"/projects/{project.id}/examples"


def _way_back(project: Project, target: str) -> str:
    """Return an address of this project's list, or the whole list for any other address."""
    whole = _list_url(project)
    is_of_list = safe_next(target).partition("?")[0] == whole
    return target if is_of_list else whole


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    row, identity = text.split("-")
    return Cursor(int(row), int(identity))


def _list_page(
    request: Request,
    session: Session,
    project: Project,
    settings: Settings,
    values: dict[str, object],
    error: DomainError | None = None,
) -> Response:
    context = {
        "project": project,
        "may_edit": request.state.may_edit,
        "total": service.count_examples(session, project.id),
        "advice": advise(session, project.id, characters_at_once(session, project)),
        "open_imports": service.open_imports(session, project.id),
        "has_imports": service.count_imports(session, project.id) > 0,
        "has_worker": is_anyone_there(session, LIGHT_QUEUE),
        "max_upload_bytes": settings.max_upload_bytes,
        "messages_of": _messages,
        "error": error,
        "search": "",
        "order": "newest",
        "after": "",
        "before": "",
        "text": "",
    }
    status_code = error.status_code if error else 200
    return render(request, "examples/index.html", {**context, **values}, status_code=status_code)


def _messages(example: Example) -> list[dict[str, str]]:
    """Return a conversation as it is shown; none for a text, alone or with its kind."""
    if example.shape in {Shape.PASSAGE, Shape.LABEL}:
        return []
    return [*prompt_of(example), {"role": "assistant", "content": example.answer}]


def _form_page(
    request: Request,
    project: Project,
    written: WrittenExample,
    back: str,
    example: Example | None = None,
    error: DomainError | None = None,
    shown_hash: str = "",
) -> Response:
    # What someone else has saved meanwhile is shown too, so whoever saves then has seen it.
    present = example if isinstance(error, ChangedMeanwhileError) else None
    context = {
        "project": project,
        "may_edit": request.state.may_edit,
        "written": written,
        "example": example,
        "shape": example.shape if example is not None else written.shape,
        "back": back,
        "error": error,
        "shown_hash": present.content_hash if present else shown_hash,
        "present": present,
        "messages_of": _messages,
    }
    status_code = error.status_code if error else 200
    return render(request, "examples/form.html", context, status_code=status_code)


router.include_router(long_forms)
