"""Nobody comes in without being asked who they are, and every form is ours."""

import re

import pytest

from app.web.gate import is_public
from tests.support.web import ADMIN, BASE_URL, OWNER, STRANGER, TEAMMATE, VIEWER, Web, every_route

# Everything that may be seen without an account. Lengthening this list is a decision.
PUBLIC = {
    "/health",
    "/login",
    "/setup/{token}",
    "/invitation/{token}",
    "/reset/{token}",
    "/static",
}
# What someone who only looks may still send.
MEANT_FOR_VIEWERS = re.compile(r"/chat|/leave$")
KEPT_BY_OWNERS = {
    "/delete",
    "/members",
    "/members/{user_id}/role",
    "/members/{user_id}/remove",
}
FOREIGN = (
    {"origin": "http://evil.test"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8000.evil.test"},
    {"origin": "http://127.0.0.1:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _filled(path: str, project_id: str = "0123456789abcdef") -> str:
    return re.sub(r"\{[^}]+\}", "1", path.replace("{project_id}", project_id))


class TestAnonymous:
    def test_every_route_but_the_short_list_refuses(self, web: Web) -> None:
        client = web.anonymous()
        routes = [(path, methods) for path, methods in every_route(web.app) if path not in PUBLIC]
        assert len(routes) > 20
        for path, _ in routes:
            for method in METHODS:
                answer = client.request(method, _filled(path), headers={"accept": "text/html"})
                if method in {"GET", "HEAD"}:
                    assert answer.status_code == 303, (method, path)
                    assert answer.headers["location"].startswith("/login"), path
                else:
                    assert answer.status_code == 401, (method, path)

    def test_the_public_list_is_as_short_as_it_says(self, web: Web) -> None:
        paths = {path for path, _ in every_route(web.app)}
        assert {path for path in paths if is_public(_filled(path))} == PUBLIC - {"/static"}
        assert paths >= PUBLIC

    @pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
    def test_scripts_and_streams_get_401(self, web: Web, accept: str) -> None:
        answer = web.anonymous().get("/projects/1/runs/1/events", headers={"accept": accept})
        assert answer.status_code == 401
        assert answer.json()["error"]["what"] == "You are not signed in."

    def test_pages_lead_back_after_signing_in(self, web: Web) -> None:
        answer = web.anonymous().get("/projects/abc/examples?page=2&q=ä")
        assert answer.headers["location"] == (
            "/login?next=/projects/abc/examples%3Fpage%3D2%26q%3D%25C3%25A4"
        )

    def test_paths_near_the_public_ones_are_not_public(self, web: Web) -> None:
        client = web.anonymous()
        near = ("/healthy", "/login/x", "/setup/a/b", "/static/../people", "//people", "/LOGIN")
        for path in near:
            answer = client.get(path)
            assert answer.status_code in {303, 400, 404}, path
            assert "Who may sign in here" not in answer.text


class TestStrangers:
    def test_every_project_route_is_404_for_a_stranger_and_an_administrator(self, web: Web) -> None:
        project = web.project()
        routes = [
            (path, method)
            for path, methods in every_route(web.app)
            if "{project_id}" in path
            for method in methods
        ]
        assert len(routes) >= 8
        for email in (STRANGER, ADMIN):
            client = web.client_for(email)
            for path, method in routes:
                url = _filled(path, project.id)
                headers = {"x-csrf-token": client.csrf_token, "origin": BASE_URL}
                answer = client.request(method, url, headers=headers)
                assert answer.status_code == 404, (email, method, path, answer.status_code)
        assert web.client_for(OWNER).get(f"/projects/{project.id}").status_code == 200

    def test_administrators_routes_refuse_everyone_else(self, web: Web) -> None:
        client = web.client_for(OWNER)
        routes = [
            (path, method)
            for path, methods in every_route(web.app)
            if path.startswith(("/people", "/queue"))
            for method in methods
        ]
        assert routes
        for path, method in routes:
            headers = {"x-csrf-token": client.csrf_token}
            answer = client.request(method, _filled(path), headers=headers)
            assert answer.status_code == 403, (method, path)


class TestRoles:
    def test_a_viewer_changes_nothing_and_an_editor_manages_nobody(self, web: Web) -> None:
        project = web.project()
        base = f"/projects/{project.id}"
        viewer, editor = web.client_for(VIEWER), web.client_for(TEAMMATE)
        assert viewer.get(base).status_code == 200
        assert viewer.submit(f"{base}/settings", {"name": "Mine"}).status_code == 403
        assert editor.submit(f"{base}/settings", {"name": "Ours"}).status_code == 303
        for client in (viewer, editor):
            assert client.submit(f"{base}/members", {"email": STRANGER}).status_code == 403
            assert client.submit(f"{base}/delete", {"confirmation": "Ours"}).status_code == 403
        assert "Ours" in viewer.page(base)

    def test_no_unsafe_project_route_is_open_to_viewers_by_accident(self, web: Web) -> None:
        """Every POST below a project is refused to a viewer, but for those meant for viewers."""
        project = web.project()
        viewer = web.client_for(VIEWER)
        for path, methods in every_route(web.app):
            if "{project_id}" not in path or methods <= {"GET", "HEAD"}:
                continue
            if MEANT_FOR_VIEWERS.search(path):
                continue
            answer = viewer.submit(_filled(path, project.id))
            assert answer.status_code in {403, 404}, (path, answer.status_code)

    def test_editors_may_do_all_but_what_owners_keep_to_themselves(self, web: Web) -> None:
        project = web.project()
        editor = web.client_for(TEAMMATE)
        kept = set()
        for path, methods in every_route(web.app):
            if "{project_id}" not in path or methods <= {"GET", "HEAD"} or path.endswith("/leave"):
                continue
            answer = editor.submit(_filled(path, project.id))
            assert answer.status_code < 500, path
            if answer.status_code == 403:
                kept.add(path.removeprefix("/projects/{project_id}"))
        assert kept == KEPT_BY_OWNERS


class TestForms:
    def test_a_form_without_the_token_is_refused(self, web: Web) -> None:
        client = web.client_for(OWNER)
        answer = client.post("/projects", data={"name": "X"})
        assert answer.status_code == 403
        assert "too old to be sent" in answer.text

    def test_another_persons_token_is_refused(self, web: Web) -> None:
        client = web.client_for(OWNER)
        token = web.client_for(STRANGER).csrf_token
        answer = client.post("/projects", data={"csrf_token": token, "name": "X"})
        assert answer.status_code == 403

    def test_a_foreign_origin_is_refused_even_with_cookie_and_token(self, web: Web) -> None:
        client = web.client_for(OWNER)
        fields = {"csrf_token": client.csrf_token, "name": "X"}
        for headers in FOREIGN:
            answer = client.post("/projects", data=fields, headers=headers)
            assert answer.status_code == 403, headers
            assert "not sent from a page of Tailor" in answer.text

    def test_the_token_may_be_a_header(self, web: Web) -> None:
        client = web.client_for(OWNER)
        headers = {"x-csrf-token": client.csrf_token}
        answer = client.post("/projects", data={"name": "X"}, headers=headers)
        assert answer.status_code == 303

    def test_the_token_may_be_the_first_field_of_an_upload(self, web: Web) -> None:
        client = web.client_for(OWNER)
        form = {"name": "X", "goal": "long " * 4000}
        answer = client.submit("/projects", form, files={"extra": ("a.txt", b"x" * 500_000)})
        assert answer.status_code == 303
        assert "long long" in client.page("/")

    def test_a_token_later_in_an_upload_is_not_looked_for(self, web: Web) -> None:
        client = web.client_for(OWNER)
        fields = {"name": "X", "csrf_token": client.csrf_token}
        answer = client.post("/projects", data=fields, files={"extra": ("a.txt", b"x")})
        assert answer.status_code == 403

    def test_no_answer_invites_other_sites(self, web: Web) -> None:
        client = web.client_for(OWNER)
        answer = client.get("/", headers={"origin": "http://evil.test"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
