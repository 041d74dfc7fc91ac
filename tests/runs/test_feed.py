"""Open run pages: nothing lost, nothing doubled, and a cost that does not grow with them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.accounts.sign_in import recognise, sign_out
from app.accounts.tables import UserSession
from app.datasets.service import add_examples
from app.projects.tables import ProjectMember
from app.runs.repository import add_event, lock
from app.runs.status import RunStatus
from app.runs.steering import cancel_run
from app.runs.tables import Run
from app.web import run_feed, sse
from app.web.run_feed import RunFeed, Watcher
from app.web.run_views import RunViews
from app.web.sse import Outbox, last_seen
from tests.support.asynchronous import run_in_thread
from tests.support.runs import examples, get_run, queue_run
from tests.support.serving import free_port, served
from tests.support.statements import counted_statements
from tests.support.waiting import wait_until
from tests.support.web import OWNER, TEAMMATE, Web


def project_of(web: Web) -> str:
    project = web.project()
    with web.transaction() as session:
        add_examples(session, project.id, examples(30))
        session.merge(project).base_model_id = "starter"
    return project.id


@pytest.fixture
def run(web: Web) -> Run:
    return get_run(web.engine, queue_run(web.engine, web.storage, project_of(web)))


def happen(web: Web, run: Run, count: int = 1, **values: Any) -> None:  # noqa: ANN401
    """Let something happen in a run, as if a worker wrote it."""
    with web.transaction() as session:
        locked = lock(session, run.id)
        assert locked is not None
        for name, value in values.items():
            setattr(locked, name, value)
        for _ in range(count):
            add_event(session, locked, "log", {"message": f"number {locked.event_count + 1}"})


def sign_in_of(web: Web, email: str) -> UserSession:
    token = web.client_for(email).cookies[web.app.state.cookies.session]
    with web.transaction() as session:
        recognised = recognise(session, token)
        assert recognised is not None
        return recognised.session


_MARK = sse.event("mark")
"""Sent behind everything else, to see that all of it has arrived."""


class OpenPage:
    """What one browser would receive."""

    def __init__(self, run: Run, sign_in: UserSession, seen: int) -> None:
        self.sign_in = sign_in
        self.watcher = Watcher(
            run_id=run.id,
            project_id=run.project_id,
            sign_in_id=sign_in.id,
            form_token=sign_in.csrf_token,
            may_edit=True,
            seen=seen,
            outbox=Outbox(),
        )
        self.received: list[tuple[str, int | None, str]] = []
        self._marks_sent = self._marks_seen = 0
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.watcher.outbox.messages():
            if message == _MARK:
                self._marks_seen += 1
                continue
            lines = message.decode().strip().split("\n")
            name = next((x[7:] for x in lines if x.startswith("event: ")), "")
            number = next((int(x[4:]) for x in lines if x.startswith("id: ")), None)
            data = "\n".join(x[6:] for x in lines if x.startswith("data: "))
            self.received.append((name, number, data))

    async def has_read(self) -> None:
        """Wait until all that was sent is here, or the page is closed."""
        self._marks_sent += 1
        self.watcher.outbox.send(_MARK)
        await asyncio.to_thread(
            wait_until,
            lambda: self._marks_seen == self._marks_sent or self.is_closed,
            timeout=20,
            what="a page to read what it was sent",
            interval=0.005,
        )

    async def has_views(self, count: int) -> None:
        """Wait for so many views."""
        await asyncio.to_thread(
            wait_until, lambda: len(self.views) >= count, timeout=20, what=f"view {count}"
        )

    @property
    def is_closed(self) -> bool:
        return self._task.done()

    @property
    def ids(self) -> list[int]:
        return [number for _, number, _ in self.received if number is not None]

    @property
    def views(self) -> list[str]:
        return [data for name, _, data in self.received if name == "view"]


def with_feed(
    web: Web, scenario: Callable[[RunFeed], Awaitable[None]], views: RunViews | None = None
) -> None:
    async def main() -> None:
        await scenario(RunFeed(web.engine, views or RunViews()))

    run_in_thread(main())


async def look(feed: RunFeed, *pages: OpenPage) -> None:
    """Look once; return when these pages have read what that brought."""
    await asyncio.to_thread(feed.look)
    for page in pages:
        await page.has_read()


def test_replay_then_live_without_loss_or_doubles(web: Web, run: Run) -> None:
    happen(web, run, 9)

    async def scenario(feed: RunFeed) -> None:
        fresh, returning = (
            OpenPage(run, sign_in_of(web, OWNER), 10),
            OpenPage(run, sign_in_of(web, OWNER), 4),
        )
        for page in (fresh, returning):
            feed.watch(page.watcher)
        await look(feed, fresh, returning)
        assert (fresh.ids, returning.ids) == ([], [5, 6, 7, 8, 9, 10])
        assert len(fresh.views) == len(returning.views) == 1
        await asyncio.to_thread(happen, web, run, 3)
        await look(feed, fresh, returning)
        await look(feed, fresh, returning)
        assert (fresh.ids, returning.ids) == ([11, 12, 13], [*range(5, 14)])
        assert len(fresh.views) == 2

    with_feed(web, scenario)


def test_progress_renews_the_view_without_an_event(web: Web, run: Run) -> None:
    happen(web, run, 1, status=RunStatus.TRAINING, phase="training", step=1, total_steps=10)

    async def scenario(feed: RunFeed) -> None:
        page = OpenPage(run, sign_in_of(web, OWNER), 2)
        feed.watch(page.watcher)
        await look(feed, page)
        await look(feed, page)
        assert len(page.views) == 1
        assert "1 of 10 steps" in page.views[0]
        await asyncio.to_thread(happen, web, run, 0, step=4, seconds_left=100.0)
        await look(feed, page)
        assert "4 of 10 steps" in page.views[1]
        assert "About 2 minutes left." in page.views[1]
        assert page.ids == []

    with_feed(web, scenario)


def test_five_hundred_pages_cost_the_database_what_one_does(web: Web, run: Run) -> None:
    sign_in = sign_in_of(web, OWNER)

    async def cost_of(count: int) -> list[list[str]]:
        # The views' cache and the check of rights are part of what is counted.
        feed = RunFeed(web.engine, RunViews())
        seen = get_run(web.engine, run.id).event_count
        pages = [OpenPage(run, sign_in, seen) for _ in range(count)]
        for page in pages:
            feed.watch(page.watcher)
        costs = []
        for news in (0, 0, 5):
            if news:
                await asyncio.to_thread(happen, web, run, news)
            with counted_statements(web.engine) as statements:
                await look(feed)
            costs.append(list(statements))
        for page in pages:
            await page.has_views(2)
            assert page.ids == [*range(page.watcher.seen - 4, page.watcher.seen + 1)]
            assert len(page.views) == 2
        return costs

    one = run_in_thread(cost_of(1))
    many = run_in_thread(cost_of(500))
    assert [len(statements) for statements in many] == [len(statements) for statements in one]
    # The quiet look in the middle: the states of all runs, and, since this one waits, the queue,
    # the devices that are there, and the limits.
    quiet = [statement for statement in many[1] if not statement.startswith("BEGIN")]
    assert len(quiet) == 4, quiet


def test_a_run_that_ends_closes_its_pages(web: Web, run: Run) -> None:
    async def scenario(feed: RunFeed) -> None:
        page = OpenPage(run, sign_in_of(web, OWNER), 1)
        feed.watch(page.watcher)
        await look(feed, page)

        def cancel() -> None:
            with web.transaction() as session:
                cancel_run(session, get_run(web.engine, run.id))

        await asyncio.to_thread(cancel)
        await look(feed, page)
        assert [name for name, _, _ in page.received][-2:] == ["view", "end"]
        assert page.is_closed

    with_feed(web, scenario)


@pytest.mark.parametrize("way", ["signed out", "left the project", "switched off"])
def test_whoever_may_no_longer_look_is_let_go(
    web: Web, run: Run, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "_RIGHTS_SECONDS", 0.0)

    def lose_the_right(sign_in_id: str) -> None:
        with web.transaction() as session:
            user = web.user(TEAMMATE)
            if way == "signed out":
                sign_out(session, user, sign_in_id)
            elif way == "switched off":
                session.merge(user).is_active = False
            else:
                member = session.get(ProjectMember, (run.project_id, user.id))
                session.delete(member)

    async def scenario(feed: RunFeed) -> None:
        owner, teammate = (
            OpenPage(run, sign_in_of(web, OWNER), 1),
            OpenPage(run, sign_in_of(web, TEAMMATE), 1),
        )
        for page in (owner, teammate):
            feed.watch(page.watcher)
        await look(feed, owner, teammate)
        await asyncio.to_thread(lose_the_right, teammate.sign_in.id)
        await asyncio.to_thread(happen, web, run)
        await look(feed, owner, teammate)
        assert teammate.is_closed
        assert teammate.ids == []
        assert owner.ids == [2]
        assert not owner.is_closed

    with_feed(web, scenario)


def test_a_reader_who_becomes_a_viewer_loses_the_buttons(
    web: Web, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "_RIGHTS_SECONDS", 0.0)

    def demote() -> None:
        with web.transaction() as session:
            member = session.get(ProjectMember, (run.project_id, web.user(TEAMMATE).id))
            assert member is not None
            member.role = "viewer"  # type: ignore[assignment]

    async def scenario(feed: RunFeed) -> None:
        page = OpenPage(run, sign_in_of(web, TEAMMATE), 1)
        feed.watch(page.watcher)
        await look(feed, page)
        assert "Stop the training" in page.views[-1]
        await asyncio.to_thread(demote)
        await look(feed, page)
        assert "Stop the training" not in page.views[-1]

    with_feed(web, scenario)


def test_a_page_that_cannot_keep_up_is_let_go() -> None:
    async def main() -> list[bytes]:
        outbox = Outbox()
        for number in range(1000):
            outbox.send(sse.event("log", "{}", number))
        await asyncio.sleep(0.01)
        # Closed with nothing more, so that the browser comes back and says what it has.
        return [message async for message in outbox.messages()]

    assert len(run_in_thread(main())) < 300


def read_events(address: str, client_cookies: dict[str, str], until: str, **headers: str) -> str:
    """Read a stream until a text has come."""
    text = ""
    with httpx.stream(
        "GET", address, cookies=client_cookies, headers=headers, timeout=15
    ) as response:
        assert response.status_code == 200
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in response.headers["cache-control"]
        for part in response.iter_text():
            text += part
            if until in text:
                return text
    return text


def test_over_the_wire_reload_and_restart(web: Web, run: Run) -> None:
    happen(web, run, 4)
    cookie = web.app.state.cookies.session
    cookies = {cookie: web.client_for(OWNER).cookies[cookie]}
    path = f"/projects/{run.project_id}/runs/{run.id}/events"
    with served(web.app, free_port()) as address:
        first = read_events(f"{address}{path}?after=2", cookies, "event: view")
        assert [line for line in first.splitlines() if line.startswith("id:")] == [
            "id: 3",
            "id: 4",
            "id: 5",
        ]
        wait_until(
            lambda: web.app.state.run_feed.watcher_count == 0,
            timeout=10,
            what="the page to be forgotten",
        )
    happen(web, run, 2)
    # The web process is a new one, and the browser says what it saw last.
    with served(web.app, free_port()) as address:
        second = read_events(
            f"{address}{path}?after=2", cookies, "event: view", **{"last-event-id": "5"}
        )
        assert [line for line in second.splitlines() if line.startswith("id:")] == [
            "id: 6",
            "id: 7",
        ]
        third = read_events(f"{address}{path}?last_event_id=7", cookies, "event: view")
        assert "id:" not in third


def test_the_last_event_is_read_with_care() -> None:
    assert last_seen("7", "3") == 7
    assert last_seen(None, "3") == 3
    for nonsense in ("", "-1", "x", "1" * 30, "²"):
        assert last_seen(nonsense) == 0


def test_several_lines_stay_one_event() -> None:
    assert sse.event("view", "<p>\nid: 9\n\r</p>", 3) == (
        b"event: view\nid: 3\ndata: <p>\ndata: id: 9\ndata: \ndata: </p>\n\n"
    )


def test_the_page_is_made_once_for_all(web: Web, run: Run) -> None:
    path = f"/projects/{run.project_id}/runs/{run.id}"
    web.client_for(OWNER).page(path)
    with counted_statements(web.engine) as cached:
        web.client_for(OWNER).page(path)
    assert not [statement for statement in cached if "run_metrics" in statement]
    happen(web, run)
    with counted_statements(web.engine) as made:
        web.client_for(OWNER).page(path)
    assert len(made) > len(cached)
