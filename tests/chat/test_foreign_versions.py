"""Whoever names a version of somebody else's project learns nothing of it."""

import json
from dataclasses import dataclass

import pytest

from app.chat import repository
from app.chat.service import usual_settings
from app.ids import new_id
from app.projects.service import create_project
from app.projects.tables import Project
from app.runs.tables import RunSample
from tests.support.chat import add_version_row
from tests.support.web import ADMIN, OWNER, STRANGER, TEAMMATE, Web

INSTRUCTION = "You answer for the shop with the secret prices."
QUESTION = "What does the secret article cost?"


@dataclass(frozen=True)
class Neighbours:
    """A project with a version, and the people who have nothing to do with it, or no longer."""

    web: Web
    project: Project
    run_id: str

    def project_of(self, email: str) -> str:
        """Return the address of the chat in a project of this person's own."""
        with self.web.transaction() as session:
            own = create_project(session, self.web.user(email).id, "My own")
            own.base_model_id = "starter"
            return f"/projects/{own.id}/chat"


@pytest.fixture
def neighbours(web: Web) -> Neighbours:
    project, run_id = web.project(), new_id()
    with web.transaction() as session:
        add_version_row(session, project, run_id, 1, "0" * 64)
        texts = {"question": QUESTION, "expected": "", "base_answer": "", "answer": ""}
        session.add(RunSample(run_id=run_id, position=0, step=0, **texts))
    message = {"role": "system", "content": INSTRUCTION}
    folder = web.storage.folder("runs", run_id, "data")
    (folder / "train.jsonl").write_text(json.dumps({"messages": [message]}) + "\n")
    teammate = web.user(TEAMMATE).id
    web.client_for(OWNER).submit(f"/projects/{project.id}/members/{teammate}/remove")
    return Neighbours(web, project, run_id)


def test_its_own_people_are_shown_what_it_learned_from(neighbours: Neighbours) -> None:
    url = f"/projects/{neighbours.project.id}/chat?version={neighbours.run_id}"
    page = neighbours.web.client_for(OWNER).page(url)
    assert INSTRUCTION in page
    assert QUESTION in page


@pytest.mark.parametrize("email", [OWNER, STRANGER, TEAMMATE, ADMIN])
def test_in_another_project_it_is_no_version_at_all(neighbours: Neighbours, email: str) -> None:
    url, client = neighbours.project_of(email), neighbours.web.client_for(email)
    page = client.page(f"{url}?version={neighbours.run_id}")
    assert INSTRUCTION not in page
    assert QUESTION not in page
    assert neighbours.run_id not in page
    assert "Talk to the base model" in page


@pytest.mark.parametrize("email", [OWNER, STRANGER, TEAMMATE, ADMIN])
def test_a_question_that_is_refused_shows_no_more(neighbours: Neighbours, email: str) -> None:
    url, client = neighbours.project_of(email), neighbours.web.client_for(email)
    form = {"question": "Is this kept?", "version": neighbours.run_id}
    refused = client.submit(url, form)
    assert refused.status_code == 422
    assert "This version is not there any more." in refused.text
    assert "Is this kept?" in refused.text
    assert INSTRUCTION not in refused.text
    assert QUESTION not in refused.text
    assert neighbours.run_id not in refused.text


def test_whoever_asks_below_the_pages_has_to_name_the_project(neighbours: Neighbours) -> None:
    web, run_id, own = neighbours.web, neighbours.run_id, neighbours.project.id
    user_id = web.user(OWNER).id
    with web.transaction() as session:
        other = create_project(session, user_id, "My own").id
        assert repository.held_out_questions(session, own, run_id) == [QUESTION]
        assert repository.held_out_questions(session, other, run_id) == []
        settings = usual_settings(session, web.storage, own, user_id, run_id)
        assert settings.instructions == INSTRUCTION
        settings = usual_settings(session, web.storage, other, user_id, run_id)
        assert settings.instructions == ""


@pytest.mark.parametrize("version", ["0123456789abcdef", "../../keys", "%2e%2e", "a" * 3000])
def test_a_made_up_version_is_none_either(web: Web, version: str) -> None:
    url = f"/projects/{web.project().id}/chat"
    assert web.client_for(OWNER).get(f"{url}?version={version}").status_code == 200
