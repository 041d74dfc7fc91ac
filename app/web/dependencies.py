"""What a route can ask for: who is there, the database, the project in the path.

The gate (app/web/gate.py) has already turned away everyone who is not signed in. What stands here
hands out what it found, and checks what a person may do with a project.
"""

from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from app.accounts.errors import NotAdministratorError, NotSignedInError
from app.accounts.sign_in import Browser, recognise_again
from app.accounts.tables import User, UserSession
from app.audit.service import Actor, act_as
from app.database.session import new_session, transaction
from app.journey.service import progress_of
from app.projects.service import Access, access_to, is_member
from app.projects.tables import Project, Role
from app.settings import Settings
from app.storage.folders import Storage
from app.web.csrf import SAFE_METHODS


def _settings(request: Request) -> Settings:
    return cast("Settings", request.app.state.settings)


def _storage(request: Request) -> Storage:
    return cast("Storage", request.app.state.storage)


def _engine(request: Request) -> Engine:
    return cast("Engine", request.app.state.engine)


AppSettings = Annotated[Settings, Depends(_settings)]
FileStorage = Annotated[Storage, Depends(_storage)]
DatabaseEngine = Annotated[Engine, Depends(_engine)]


def _writing_session(request: Request, engine: DatabaseEngine) -> Iterator[Session]:
    """One transaction: committed before the answer is sent, rolled back if the route raised."""
    with new_session(engine) as session:
        act_as(session, _actor(request))
        yield session
        session.commit()


def _request_session(request: Request, engine: DatabaseEngine) -> Iterator[Session]:
    if request.method not in SAFE_METHODS:
        yield from _writing_session(request, engine)
        return
    with new_session(engine, read_only=True) as session:
        event.listen(session, "before_flush", _refuse_to_write)
        yield session


def _actor(request: Request) -> Actor:
    user: User | None = request.state.user
    address = _address(request)
    return Actor(user.id, user.name, address) if user else Actor(address=address)


def _refuse_to_write(session: Session, *_: object) -> None:
    raise RuntimeError(
        f"A GET route changed {session.dirty or session.new or session.deleted}. "
        "Its session is read-only and takes no lock; ask for WritingSession instead."
    )


# scope="function": the commit happens before the answer leaves, so that a person who is sent to
# the next page finds there what they have just done.
DatabaseSession = Annotated[Session, Depends(_request_session, scope="function")]
"""The request's transaction: read-only for GET, writing for everything else."""
WritingSession = Annotated[Session, Depends(_writing_session, scope="function")]
"""For the few GET routes that write."""


def _current_user(request: Request) -> User:
    user: User | None = request.state.user
    if user is None:
        raise NotSignedInError
    return user


def _current_session(request: Request) -> UserSession:
    user_session: UserSession | None = request.state.user_session
    if user_session is None:
        raise NotSignedInError
    return user_session


CurrentUser = Annotated[User, Depends(_current_user)]
"""Who is signed in. It is detached: read it, but change people through app.accounts.service."""
CurrentSession = Annotated[UserSession, Depends(_current_session)]


def _admin_user(user: CurrentUser) -> User:
    if not user.is_admin:
        raise NotAdministratorError
    return user


AdminUser = Annotated[User, Depends(_admin_user)]


def _access(
    request: Request,
    project_id: str,
    user: CurrentUser,
    engine: DatabaseEngine,
    session: DatabaseSession,
) -> Access:
    """Find the project and the person's role in it, and prepare the path of steps for the page.

    This reads in a transaction of its own. Were it part of the request's writing transaction, a
    request would hold the database's one writing lock while it waits for a free thread to go on
    in, and the threads could all be waiting for that lock.
    """
    with transaction(engine, read_only=True) as reading:
        access = access_to(reading, user.id, project_id)
        progress = progress_of(reading, access.project, access.role)
    session.add(access.project)
    request.state.project_role = access.role
    request.state.may_edit = access.may(Role.EDITOR)
    request.state.stepper = progress.steps
    request.state.next_step = progress.next_step
    return access


ProjectAccess = Annotated[Access, Depends(_access)]


def _viewed(access: ProjectAccess) -> Project:
    return access.project


def _edited(access: ProjectAccess) -> Project:
    return access.require(Role.EDITOR)


def _owned(access: ProjectAccess) -> Project:
    return access.require(Role.OWNER)


ViewedProject = Annotated[Project, Depends(_viewed)]
EditedProject = Annotated[Project, Depends(_edited)]
OwnedProject = Annotated[Project, Depends(_owned)]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _browser(request: Request) -> Browser:
    return Browser(
        address=_address(request),
        user_agent=request.headers.get("user-agent", ""),
        previous_token=request.cookies.get(request.app.state.cookies.session, ""),
    )


CurrentBrowser = Annotated[Browser, Depends(_browser)]


def still_welcome(request: Request, project_id: str | None = None) -> bool:
    """Say whether the person may still follow a stream that was opened by this request.

    A long stream asks every few seconds: someone who signed out, was switched off, or left the
    project must not go on listening. It reads the database, so call it in a thread.
    """
    with transaction(_engine(request), read_only=True) as session:
        person = recognise_again(session, _current_session(request).id)
        if person is None or project_id is None:
            return person is not None
        return is_member(session, person.user.id, project_id)
