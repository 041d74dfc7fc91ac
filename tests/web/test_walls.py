"""Headers, hosts, sizes, and what people see when something goes wrong."""

import errno
import logging
import re
from pathlib import Path

import pytest
from fastapi import APIRouter, Request
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from app.settings import Settings
from app.web.cookies import cookie_jar
from app.web.dependencies import DatabaseSession, still_welcome
from app.web.security import CONTENT_SECURITY_POLICY, host_name
from tests.support import databases
from tests.support.outages import Proxy
from tests.support.web import ADMIN, BASE_URL, OWNER, VIEWER, Web, running_web

REFERENCE = re.compile(r"\b[0-9a-f]{8}\b")


@pytest.mark.one_database
class TestHeaders:
    def test_every_kind_of_answer_carries_them(self, web: Web) -> None:
        client = web.client_for(OWNER)
        for path in ("/", "/login", "/health", "/nothing-here", "/static/css/base.css"):
            headers = client.get(path).headers
            assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "camera=()" in headers["permissions-policy"]
        refused = client.get("/", headers={"host": "evil.test"})
        assert refused.headers["content-security-policy"] == CONTENT_SECURITY_POLICY

    def test_no_page_holds_a_script_or_a_style_of_its_own(self, web: Web) -> None:
        project = web.project()
        client = web.client_for(ADMIN)
        owner = web.client_for(OWNER)
        pages = [client.page(path) for path in ("/", "/account", "/people", "/queue")]
        pages.append(client.page("/projects/new"))
        pages += [owner.page(f"/projects/{project.id}{path}") for path in ("", "/settings")]
        pages.append(web.anonymous().page("/login"))
        for page in pages:
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page)
            addresses = re.findall(r"(?:src|href|action)=\"([^\"]+)\"", page)
            assert all(a.startswith(("/", "#")) and not a.startswith("//") for a in addresses)

    def test_the_documentation_pages_of_the_framework_are_off(self, web: Web) -> None:
        client = web.client_for(ADMIN)
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 404

    def test_static_files_are_kept_as_long_as_they_do_not_change(self, web: Web) -> None:
        client = web.anonymous()
        assert "immutable" in client.get("/static/css/base.css?v=1").headers["cache-control"]
        assert "no-cache" in client.get("/static/css/base.css").headers["cache-control"]
        assert "private" in web.client_for(OWNER).get("/").headers["cache-control"]

    def test_plain_http_promises_no_https(self, web: Web) -> None:
        assert "strict-transport-security" not in web.anonymous().get("/login").headers

    def test_monitors_may_ask_for_the_head_alone(self, web: Web) -> None:
        for path in ("/health", "/login"):
            answer = web.anonymous().head(path)
            assert (answer.status_code, answer.content) == (200, b""), path


@pytest.mark.one_database
class TestHosts:
    def test_foreign_hosts_are_refused(self, web: Web) -> None:
        client = web.client_for(OWNER)
        for host in ("evil.test", "evil.test:8000", "127.0.0.1.evil.test", "", "[::2]"):
            answer = client.get("/", headers={"host": host})
            assert answer.status_code == 400, host
        for host in ("127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000"):
            assert client.get("/", headers={"host": host}).status_code == 200, host

    def test_host_names(self) -> None:
        assert host_name("[::1]:8000") == "::1"
        assert host_name("Tailor.Example.org:443") == "tailor.example.org"


@pytest.mark.one_database
class TestHttps:
    def test_cookies_belong_to_this_host_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = databases.create_migrated("sqlite", tmp_path)
        settings = {"public_url": "https://tailor.example.org"}
        with running_web(url, tmp_path / "data", monkeypatch, **settings) as web:
            client = web.anonymous()
            answer = client.get("/login", headers={"host": "tailor.example.org"})
            cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-tailor-form=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"

    def test_plain_http_on_this_machine_goes_without_the_prefix(self, tmp_path: Path) -> None:
        jar = cookie_jar(Settings(data_dir=tmp_path))
        assert jar.session == "tailor_session"
        assert "Secure" not in jar.header(jar.session, "x")


@pytest.mark.one_database
class TestSizes:
    def test_an_ordinary_form_is_bounded_announced_or_not(self, web: Web) -> None:
        client = web.client_for(OWNER)
        answer = client.submit("/projects", {"name": "x" * 3_000_000})
        assert answer.status_code == 413
        assert "too much at once" in answer.text

        def chunks() -> list[bytes]:
            return [f"csrf_token={client.csrf_token}&name=".encode(), *[b"x" * 100_000] * 30]

        headers = {"content-type": "application/x-www-form-urlencoded", "origin": BASE_URL}
        answer = client.post("/projects", content=iter(chunks()), headers=headers)
        assert answer.status_code == 413


class TestErrors:
    def test_what_is_not_there_says_so_in_a_page_or_in_json(self, web: Web) -> None:
        client = web.client_for(OWNER)
        answer = client.get("/projects/0123456789abcdef")
        assert answer.status_code == 404
        assert "This project does not exist." in answer.text
        answer = client.get("/nothing", headers={"accept": "application/json"})
        assert answer.json()["error"]["what"] == "This page does not exist."
        assert client.submit("/account").status_code == 405

    def test_made_up_addresses_never_break_anything(self, web: Web) -> None:
        client = web.client_for(OWNER)
        project = web.project()
        for path in (
            "/projects/%00",
            "/projects/..%2f..%2fetc%2fpasswd",
            "/projects/%252e%252e/settings",
            f"/projects/{'a' * 3000}",
            "/setup/%00",
            "/login?next=%00",
            f"/projects/{project.id}/settings?x=%00",
            f"/projects/{project.id}%00",
        ):
            assert client.get(path).status_code < 500, path
        answer = client.submit("/projects", {"name": "a\x00b\nc", "goal": "d\x00e"})
        assert answer.status_code == 303
        assert "a b c" in client.page("/")

    def test_what_nobody_foresaw_gets_a_reference_and_no_stack_trace(
        self, web: Web, caplog: pytest.LogCaptureFixture
    ) -> None:
        router = APIRouter()

        @router.get("/broken")
        def broken() -> None:
            raise ZeroDivisionError("a secret detail")

        web.app.include_router(router)
        with caplog.at_level(logging.ERROR):
            answer = web.client_for(OWNER).get("/broken")
        assert answer.status_code == 500
        assert "secret detail" not in answer.text
        assert "Traceback" not in answer.text
        reference = REFERENCE.search(answer.text)
        assert reference is not None
        assert reference[0] in caplog.text
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY

    def test_a_get_route_that_writes_is_found_out(self, web: Web) -> None:
        router = APIRouter()
        project = web.project()

        @router.get("/writes")
        def writes(session: DatabaseSession) -> None:
            session.add(project)
            project.name = "Changed by looking"
            session.flush()

        web.app.include_router(router)
        assert web.client_for(OWNER).get("/writes").status_code == 500

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            OperationalError("INSERT", {}, Exception("database or disk is full")),
        ],
    )
    def test_a_full_disk_is_said_plainly(self, web: Web, error: Exception) -> None:
        router = APIRouter()

        @router.get("/full")
        def full() -> None:
            raise error

        web.app.include_router(router)
        answer = web.client_for(OWNER).get("/full")
        assert answer.status_code == 507
        assert "The disk of this machine is full." in answer.text

    def test_other_faults_of_the_system_are_not_called_a_full_disk(self, web: Web) -> None:
        router = APIRouter()

        @router.get("/odd")
        def odd() -> None:
            raise OSError(errno.EIO, "Input/output error")

        web.app.include_router(router)
        answer = web.client_for(OWNER).get("/odd")
        assert answer.status_code == 500
        assert REFERENCE.search(answer.text)

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_database_that_is_away_is_said_plainly_and_comes_back(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = make_url(database_url)
        proxy = Proxy(address.port or 5432)
        through = address.set(host="127.0.0.1", port=proxy.port).render_as_string(False)
        with running_web(through, tmp_path / "data", monkeypatch) as web:
            client = web.client_for(OWNER)
            proxy.close()
            answer = client.submit("/projects", {"name": "Kept"})
            assert answer.status_code == 503
            assert "The database does not answer." in answer.text
            assert "what you typed is still in the form" in answer.text
            assert answer.headers["retry-after"] == "5"
            assert "Traceback" not in answer.text
            proxy.is_open = True
            assert client.submit("/projects", {"name": "Kept"}).status_code == 303

    def test_a_flash_is_shown_once_and_cannot_be_forged(self, web: Web) -> None:
        client = web.fresh_client_for(OWNER)
        client.submit("/account/name", {"name": "New <b>name</b>"})
        page = client.page("/account")
        assert "Your name is saved." in page
        assert "New &lt;b&gt;name&lt;/b&gt;" in page
        assert "Your name is saved." not in client.page("/account")
        client.cookies.set("tailor_flash", "WyJub3RpY2UiLCAiRm9yZ2VkIl0.AAAA")
        assert "Forged" not in client.page("/account")


def test_a_stream_ends_when_its_reader_may_no_longer_look(web: Web) -> None:
    project = web.project()
    seen: list[bool] = []
    router = APIRouter()

    @router.get("/watch/{project_id}")
    def watch(request: Request, project_id: str) -> None:
        seen.append(still_welcome(request, project_id))
        viewer = web.user(VIEWER).id
        web.client_for(OWNER).submit(f"/projects/{project_id}/members/{viewer}/remove")
        seen.append(still_welcome(request, project_id))
        seen.append(still_welcome(request))
        web.client_for(ADMIN).submit(f"/people/{viewer}/active")
        seen.append(still_welcome(request))

    web.app.include_router(router)
    web.client_for(VIEWER).get(f"/watch/{project.id}")
    assert seen == [True, False, True, False]


def test_the_services_beside_the_pages_live_as_long_as_the_application(web: Web) -> None:
    with web.client_for(OWNER) as client:
        assert client.get("/").status_code == 200
        assert web.app.state.run_feed is not None
