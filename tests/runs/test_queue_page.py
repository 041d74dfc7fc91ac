"""The administrators' page of the queue, and what people see of what they change there."""

import re

import pytest

from app.audit.service import Action, newest_events
from app.datasets.service import add_examples
from app.projects.service import add_member
from app.projects.tables import Project, Role
from app.runs.holding import claim_next_run
from app.runs.queue.tables import DeviceUse
from tests.support.devices import ONE_CPU, a_worker_is_there
from tests.support.runs import examples
from tests.support.web import ADMIN, OWNER, STRANGER, TEAMMATE, VIEWER, Web


@pytest.fixture
def project(web: Web) -> Project:
    project = web.project("Very private name")
    a_worker_is_there(web.engine)
    with web.transaction() as session:
        add_examples(session, project.id, examples(12))
        session.merge(project).base_model_id = "starter"
    return project


def ask(web: Web, project: Project, email: str) -> str:
    answer = web.client_for(email).submit(f"/projects/{project.id}/training", {"preset": "quick"})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).rpartition("/")[2]


def names(page: str) -> list[str]:
    """Whose the waiting trainings are, in the order of the page."""
    waiting = page.partition('id="waiting"')[2].partition("</section>")[0]
    return re.findall(r'data-label="Whose">(\w+)<', waiting)


def button_names(page: str) -> list[str]:
    """What each button of the page is called for those who hear it."""
    buttons = re.findall(r"<button[^>]*>(.*?)</button>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", button).split()) for button in buttons]


def run_page(web: Web, project: Project, run_id: str) -> str:
    return web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")


def test_it_shows_what_runs_where_and_who_is_next(web: Web, project: Project) -> None:
    admin = web.client_for(ADMIN)
    page = admin.page("/queue")
    assert "Nothing is trained at the moment." in page
    assert "Nothing waits." in page
    assert "A processor" in page
    runs = [ask(web, project, OWNER) for _ in range(3)] + [ask(web, project, TEAMMATE)]
    (cpu,) = ONE_CPU.each()
    with web.transaction() as session:
        held = claim_next_run(session, cpu)
        assert held is not None
        assert held.id == runs[0]
    page = admin.page("/queue")
    assert "A processor, here" in page
    assert names(page) == ["Teammate", "Owner", "Owner"]
    assert "Very private name" not in page
    assert f"/projects/{project.id}" not in page
    assert "3 trainings" not in run_page(web, project, runs[2])


def test_who_takes_part_in_a_project_sees_which_training_it_is(web: Web, project: Project) -> None:
    run_id = ask(web, project, OWNER)
    admin = web.client_for(ADMIN)
    assert "Very private name" not in admin.page("/queue")
    with web.transaction() as session:
        add_member(session, project, ADMIN, Role.VIEWER)
    page = admin.page("/queue")
    assert f'href="/projects/{project.id}/runs/{run_id}">Very private name, version 1<' in page


def test_no_two_buttons_are_called_the_same(web: Web, project: Project) -> None:
    for email in (OWNER, OWNER, TEAMMATE):
        ask(web, project, email)
    admin = web.client_for(ADMIN)
    for email in (OWNER, TEAMMATE):
        form = {"person_id": web.user(email).id, "runs_at_once": "3"}
        assert admin.submit("/queue/limits/own", form).status_code == 303
    table = admin.page("/queue").partition("<h2>In work</h2>")[2]
    called = button_names(table)
    assert "Put first: place 2, Teammate, Tailor Starter" in called
    assert "Let the next one go first: place 2, Teammate, Tailor Starter" in called
    assert "As for everybody: Teammate" in called
    assert len(called) == len(set(called))


def test_an_administrator_changes_the_order_and_everyone_sees_it(
    web: Web, project: Project
) -> None:
    mine, theirs = ask(web, project, OWNER), ask(web, project, TEAMMATE)
    last = ask(web, project, OWNER)
    admin = web.client_for(ADMIN)
    assert "next in line" in run_page(web, project, mine)
    answer = admin.submit(f"/queue/runs/{last}/first")
    assert answer.status_code == 303
    assert "first in line now" in admin.page("/queue")
    assert "next in line" in run_page(web, project, last)
    assert "1\N{NO-BREAK SPACE}training is before it." in run_page(web, project, mine)
    admin.submit(f"/queue/runs/{mine}/later")
    assert "2\N{NO-BREAK SPACE}trainings are before it." in run_page(web, project, mine)
    admin.submit(f"/queue/runs/{last}/last")
    assert "next in line" in run_page(web, project, theirs)
    with web.transaction() as session:
        deeds = [event for event in newest_events(session) if event.object_kind == "run"]
    assert [deed.action for deed in deeds] == [
        Action.RUN_PUT_LAST,
        Action.RUN_PUT_LATER,
        Action.RUN_PUT_FIRST,
    ]
    assert {deed.actor_name for deed in deeds} == {"Admin"}
    answer = admin.submit("/queue/runs/0123456789abcdef/first")
    assert answer.status_code == 409
    assert "does not wait any more" in answer.text


def test_what_a_limit_holds_back_says_why(web: Web, project: Project) -> None:
    admin = web.client_for(ADMIN)
    saved = admin.submit("/queue/limits", {"runs_at_once": "1", "device_hours_a_week": ""})
    assert saved.status_code == 303
    ask(web, project, OWNER)
    waiting = ask(web, project, OWNER)
    with web.transaction() as session:
        held = claim_next_run(session)
        assert held is not None
        assert claim_next_run(session) is None
    text = run_page(web, project, waiting)
    assert "It waits for another training of the same person." in text
    assert "no more may run at once for one person here" in text
    assert "limit is reached" in admin.page("/queue")
    form = {
        "person_id": web.user(OWNER).id,
        "runs_at_once": "",
        "device_hours_a_week": "0.5",
    }
    assert admin.submit("/queue/limits/own", form).status_code == 303
    assert "next in line" in run_page(web, project, waiting)
    with web.transaction() as session:
        for use in session.query(DeviceUse):
            use.began_at -= 1800
    text = run_page(web, project, waiting)
    assert "has used the 0.5 hours of training" in text
    admin.submit(f"/queue/limits/own/{web.user(OWNER).id}/remove")
    assert "of the same person" in run_page(web, project, waiting)
    page = admin.page("/people/history")
    assert "set what everybody may have of the queue: trainings at once: 1" in page
    assert "let the limits of everybody count for Owner again" in page


def test_a_limit_that_cannot_be_kept_is_shown_beside_its_field(web: Web) -> None:
    admin = web.client_for(ADMIN)
    answer = admin.submit("/queue/limits", {"runs_at_once": "many", "device_hours_a_week": "3"})
    assert answer.status_code == 422
    assert 'value="many"' in answer.text
    assert "Type a number from 1 to 1,000" in answer.text
    form = {"person_id": "nobody", "runs_at_once": "1"}
    assert admin.submit("/queue/limits/own", form).status_code == 404


def test_the_page_is_for_administrators(web: Web, project: Project) -> None:
    run_id = ask(web, project, OWNER)
    for email in (OWNER, TEAMMATE, VIEWER, STRANGER):
        client = web.client_for(email)
        assert 'href="/queue"' not in client.page("/")
        assert client.get("/queue").status_code == 403
        assert client.submit(f"/queue/runs/{run_id}/first").status_code == 403
        assert client.submit("/queue/limits", {"runs_at_once": "1"}).status_code == 403
    assert 'href="/queue"' in web.client_for(ADMIN).page("/")
    assert web.anonymous().get("/queue").status_code == 303


def test_a_long_queue_has_pages(
    web: Web, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runs.queue.overview.WAITING_PER_PAGE", 2)
    for _ in range(3):
        ask(web, project, OWNER)
    admin = web.client_for(ADMIN)
    assert len(names(admin.page("/queue"))) == 2
    second = admin.page("/queue?page=2")
    assert len(names(second)) == 1
    assert "Put first" in second
    assert len(names(admin.page("/queue?page=99"))) == 1
