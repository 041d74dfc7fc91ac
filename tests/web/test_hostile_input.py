"""Whatever is written into an address or a form, nothing breaks, leaks or changes for others."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import text

from migrations.all_tables import METADATA
from tests.support.web import ADMIN, BASE_URL, OWNER, STRANGER, Web, every_route

HOSTILE = (
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "'; DROP TABLE users; --",
    "<script>alert(1)</script>",
    "{{ 7 * 191 }}",
    "a\x00b",
    "\ud7ff\u202e\U0001f9f5",
    "-1",
    "9" * 40,
    "x" * 5000,
)
# Signs of a file of the machine, of a template that was run, and of a script that would run.
LEAKS = ("root:x:0:0", "1337", "<script>alert(1)", "Traceback (most recent")
# These end the session or the project that the others need.
_PARTS = re.compile(r"(\{[^}]+\})")
LAST = re.compile(r"/logout$|/leave$|/delete$|/active$|/account/sessions/")


def _fields(dependant: Dependant) -> Iterator[str]:
    for field in dependant.body_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _fields(inner)


def _form_fields(web: Web) -> dict[str, list[str]]:
    """Return the names of the form fields of every route that takes a form."""
    return {
        route.path: sorted(set(_fields(route.dependant)))
        for router in web.app.routes
        for route in getattr(getattr(router, "original_router", None), "routes", [])
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    }


def _snapshot(web: Web) -> dict[str, list[str]]:
    """Return all rows but those that every request touches."""
    with web.transaction() as session:
        return {
            name: sorted(repr(row) for row in session.execute(text(f"SELECT * FROM {name}")))  # noqa: S608
            for name in METADATA.tables
            if name not in {"user_sessions", "login_attempts"}
        }


@pytest.mark.one_database
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_every_form_field_takes_anything(web: Web, hostile: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    sentinel.write_text("still here")
    forms = _form_fields(web)
    assert sum(map(len, forms.values())) > 30, "the fields are not found"
    client, project = web.client_for(ADMIN), web.project()
    owner = web.client_for(OWNER)
    for path, fields in forms.items():
        if LAST.search(path):
            continue
        sender = owner if "{project_id}" in path else client
        url = re.sub(r"\{[^}]+\}", "1", path.replace("{project_id}", project.id))
        answer = sender.submit(url, dict.fromkeys(fields, hostile))
        assert answer.status_code < 500, (path, answer.status_code)
        assert not [leak for leak in LEAKS if leak in answer.text], path
    assert sentinel.read_text() == "still here"
    assert web.client_for(OWNER).get("/").status_code == 200


@pytest.mark.one_database
def test_every_id_in_an_address_takes_anything(web: Web) -> None:
    project = web.project()
    owner, admin = web.client_for(OWNER), web.client_for(ADMIN)
    before = _snapshot(web)
    for path, methods in every_route(web.app):
        for hostile in HOSTILE:
            if "{" not in path or "\x00" in hostile or "{" in hostile:
                continue
            known = path.replace("{project_id}", project.id)
            url = "".join([hostile if part[:1] == "{" else part for part in _PARTS.split(known)])
            if url == known or not url.isascii() or " " in url:
                continue
            for method in methods:
                client = owner if "{project_id}" in path else admin
                headers = {"x-csrf-token": client.csrf_token, "origin": BASE_URL}
                answer = client.request(method, url, headers=headers)
                assert answer.status_code < 500, (method, url[:200], answer.status_code)
                assert not [leak for leak in LEAKS if leak in answer.text], url[:200]
    assert _snapshot(web) == before


def test_all_ids_of_an_owner_replayed_by_a_stranger_change_nothing(web: Web) -> None:
    project = web.project()
    owner, stranger = web.client_for(OWNER), web.client_for(STRANGER)
    base = f"/projects/{project.id}"
    written = {"question": "Do you open on Sunday?", "answer": "No, we rest."}
    assert owner.submit(f"{base}/examples/new", written).status_code == 303
    pasted = {"text": "question,answer\nWhere?,Here.\nWhen?,Now.\n"}
    assert owner.submit(f"{base}/examples/paste", pasted).status_code == 303
    ids = {"project_id": project.id, "user_id": web.user(OWNER).id, "number": "1"}
    with web.transaction() as session:
        ids["example_id"] = str(session.execute(text("SELECT id FROM examples")).scalar_one())
        ids["import_id"] = str(session.execute(text("SELECT id FROM imports")).scalar_one())
    before = _snapshot(web)
    headers = {"x-csrf-token": stranger.csrf_token, "origin": BASE_URL}
    tried = 0
    for path, methods in every_route(web.app):
        if "{project_id}" not in path:
            continue
        url = re.sub(r"\{(\w+)[^}]*\}", lambda match: ids.get(match[1], "1"), path)
        for method in methods:
            tried += 1
            assert stranger.request(method, url, headers=headers).status_code == 404, (method, url)
    assert tried > 30
    assert _snapshot(web) == before


@pytest.mark.one_database
def test_before_tailor_is_set_up_nobody_on_the_network_starts_anything(web: Web) -> None:
    with web.transaction() as session:
        session.execute(text("DELETE FROM users"))
    before = _snapshot(web)
    anyone = web.anonymous()
    for path, methods in every_route(web.app):
        if "POST" not in methods or path == "/login":
            continue
        answer = anyone.submit(re.sub(r"\{[^}]+\}", "1", path), {"token": "1"})
        assert answer.status_code in {401, 403, 410}, (path, answer.status_code)
    assert _snapshot(web) == before
