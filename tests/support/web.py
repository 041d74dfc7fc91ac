"""A whole Tailor to knock at: the real application on a real, migrated database, and a cast.

    def test_a_stranger_sees_nothing(web: Web) -> None:
        project = web.project()                    # owned by the owner, with the cast as members
        assert web.client_for(STRANGER).get(f"/projects/{project.id}").status_code == 404
        web.client_for(OWNER).post(f"/projects/{project.id}/members", {"email": STRANGER})

The `web` fixture of tests/conftest.py gives one, once on SQLite and once on PostgreSQL.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from app import jobs
from app.accounts import sign_in
from app.accounts.passwords import hash_password
from app.accounts.repository import user_by_email
from app.accounts.sign_in import Browser
from app.accounts.tables import User
from app.base_models.service import register_built_in
from app.database import engine as database_engine
from app.database.session import transaction
from app.jobs import LIGHT_QUEUE
from app.main import create_app
from app.projects.service import add_member, create_project
from app.projects.tables import Project, Role
from app.settings import Settings, get_settings
from app.storage.folders import Storage
from app.workers.repository import report

OWNER = "owner@example.org"
TEAMMATE = "teammate@example.org"
"""An editor of the project."""
VIEWER = "viewer@example.org"
STRANGER = "stranger@example.org"
"""Has an account, and nothing to do with the project."""
ADMIN = "admin@example.org"
"""An administrator, and otherwise a stranger too."""
CAST = (OWNER, TEAMMATE, VIEWER, STRANGER, ADMIN)
PASSWORD = "four words that sew"
BASE_URL = "http://127.0.0.1:8000"

_CSRF_FIELD = re.compile(r'name="csrf_token" value="([^"]+)"')


class Client(TestClient):
    """A browser: keeps cookies, follows nothing by itself, and sends forms as our pages do."""

    csrf_token: str = ""

    def page(self, url: str) -> str:
        """Return a page's text, which has to be there."""
        response = self.get(url)
        assert response.status_code == 200, f"{url}: {response.status_code}"
        return str(response.text)

    def submit(
        self,
        url: str,
        form: Mapping[str, Any] | None = None,
        *,
        files: Any = None,  # noqa: ANN401
    ) -> Response:
        """Send a form as a browser does, with its token first and its Origin."""
        fields = {"csrf_token": self.csrf_token, **(form or {})}
        return self.post(url, data=fields, files=files, headers={"origin": BASE_URL})

    def submit_from(self, page_url: str, url: str, form: Mapping[str, Any]) -> Response:
        """Open a page, take the token of its form, and send the form."""
        match = _CSRF_FIELD.search(self.page(page_url))
        assert match is not None, f"{page_url} has no form"
        self.csrf_token = match[1]
        return self.submit(url, form)


class Web:
    """One Tailor and everyone who uses it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.settings: Settings = app.state.settings
        self.engine: Engine = app.state.engine
        self.storage: Storage = app.state.storage
        self._clients: dict[str, Client] = {}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Look into the database, or put something there; committed at the end."""
        with transaction(self.engine) as session:
            yield session

    def anonymous(self) -> Client:
        """A browser that nobody is signed in with."""
        return Client(
            self.app,
            base_url=BASE_URL,
            follow_redirects=False,
            raise_server_exceptions=False,
            headers={"accept": "text/html"},
        )

    def client_for(self, email: str) -> Client:
        """The browser of one of the cast (or anyone else with an account), signed in."""
        if email not in self._clients:
            self._clients[email] = self.fresh_client_for(email)
        return self._clients[email]

    def fresh_client_for(self, email: str) -> Client:
        """Another browser of the same person, with a session of its own."""
        client = self.anonymous()
        with self.transaction() as session:
            # The service itself, so that tests do not pay for a password hash at every sign-in.
            opened = sign_in.open_session(session, _user(session, email), Browser("127.0.0.1", ""))
            recognised = sign_in.recognise(session, opened.token)
            assert recognised is not None
            client.csrf_token = recognised.session.csrf_token
        client.cookies.set(self.app.state.cookies.session, opened.token)
        return client

    def user(self, email: str) -> User:
        with self.transaction() as session:
            return _user(session, email)

    def let_a_worker_be_there(self) -> None:
        """Say it as a running worker does every few seconds; it reads files and fetches models."""
        with self.transaction() as session:
            report(session, "host-1/light", LIGHT_QUEUE)

    def project(self, name: str = "Support mail") -> Project:
        """A project of the owner, in which teammate and viewer have their roles."""
        with self.transaction() as session:
            project = create_project(session, _user(session, OWNER).id, name)
            add_member(session, project, TEAMMATE, Role.EDITOR)
            add_member(session, project, VIEWER, Role.VIEWER)
            return project


def names_of_buttons(page: str) -> list[str]:
    """Return what a screen reader calls each button, and each line that opens something."""
    found = re.findall(r"<(button|summary)\b([^>]*)>(.*?)</\1>", page, re.DOTALL)
    names = []
    for _, attributes, inside in found:
        label = re.search(r'aria-label="([^"]+)"', attributes)
        words = label[1] if label else re.sub(r"<[^>]+>", "", inside)
        names.append(" ".join(words.split()))
    return names


def every_route(app: FastAPI) -> list[tuple[str, frozenset[str]]]:
    """Return path and methods of every route, through included routers and mounts."""
    return sorted(set(_flattened(app.routes)), key=lambda route: (route[0], sorted(route[1])))


def _flattened(routes: list[BaseRoute]) -> Iterator[tuple[str, frozenset[str]]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _flattened(inner.routes)
        else:
            path: str = route.path  # type: ignore[attr-defined]
            yield path, frozenset(getattr(route, "methods", None) or {"GET"})


@contextmanager
def running_web(
    database_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[Web]:
    """A Tailor of its own, also in the eyes of code that reads settings and engine itself.

    Args:
        database_url: of a database that has its tables.
        data_dir: for everything else that it keeps.
        monkeypatch: sets its environment.
        settings: more of it, by their names in lower case.
    """
    monkeypatch.setenv("TAILOR_DATA_DIR", str(data_dir))
    monkeypatch.setenv("TAILOR_DATABASE_URL", database_url)
    for name, value in settings.items():
        monkeypatch.setenv(f"TAILOR_{name.upper()}", value)
    caches: tuple[Callable[[], None], ...] = (
        get_settings.cache_clear,
        database_engine.get_engine.cache_clear,
        jobs.celery_app.cache_clear,
    )
    for forget in caches:
        forget()
    engine = database_engine.get_engine()
    web = Web(create_app())
    with web.transaction() as session:
        register_built_in(session, web.storage)
        _add_cast(session)
    try:
        yield web
    finally:
        engine.dispose()
        for forget in caches:
            forget()


def _user(session: Session, email: str) -> User:
    user = user_by_email(session, email)
    assert user is not None, f"nobody has the address {email}"
    return user


@cache
def _password_hash() -> str:
    # Hashing is slow on purpose, so the cast's one password is hashed once.
    return hash_password(PASSWORD)


def _add_cast(session: Session) -> None:
    for email in CAST:
        name = email.partition("@")[0].title()
        user = User(email=email, name=name, password_hash=_password_hash(), is_admin=email == ADMIN)
        session.add(user)
    session.flush()
