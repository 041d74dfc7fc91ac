"""Projects from making to deleting, and who may do what with them."""

import re

import pytest
from sqlalchemy import func, select

from app.adapters.tables import Adapter
from app.base_models.service import STARTER_ID
from app.datasets.service import add_examples
from app.datasets.tables import Example, Import
from app.journey.deletion import begin_deletion
from app.projects.errors import UnknownProjectError
from app.projects.service import hold_still
from app.projects.tables import Project, ProjectMember, Role
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.upkeep.sweeper import Sweeper
from tests.support.runs import examples
from tests.support.web import (
    ADMIN,
    OWNER,
    STRANGER,
    TEAMMATE,
    VIEWER,
    Web,
    names_of_buttons,
)


def _add_run(web: Web, project_id: str, status: RunStatus) -> str:
    with web.transaction() as session:
        run = Run(
            project_id=project_id,
            version_number=1,
            base_model_id=STARTER_ID,
            status=status,
            recipe={},
            snapshot_sha256="0" * 64,
            train_count=1,
            validation_count=1,
        )
        session.add(run)
        session.flush()
        return run.id


class TestMaking:
    def test_a_first_visit_offers_a_project_and_three_samples(self, web: Web) -> None:
        page = web.client_for(STRANGER).page("/")
        assert "Nothing on the table yet" in page
        assert page.count("/projects/samples/") == 3

    def test_a_new_project_leads_to_its_examples(self, web: Web) -> None:
        client = web.client_for(STRANGER)
        form = {"name": "  Support mail ", "goal": "Answer in our voice."}
        answer = client.submit_from("/projects/new", "/projects", form)
        assert answer.status_code == 303
        address = answer.headers["location"]
        assert address.endswith("/examples")
        page = client.page("/")
        assert "Support mail" in page
        assert "Add examples of what you would like" in page
        overview = client.page(address.removesuffix("/examples"))
        assert "Answer in our voice." in overview
        assert overview.count("button--primary") == 1

    def test_a_project_without_a_name_keeps_what_was_typed(self, web: Web) -> None:
        answer = web.client_for(OWNER).submit("/projects", {"name": " ", "goal": "Half a book"})
        assert answer.status_code == 422
        assert "The project has no name yet." in answer.text
        assert "Half a book" in answer.text

    def test_a_sample_is_ready_to_train_with_one_click(self, web: Web) -> None:
        client = web.client_for(STRANGER)
        answer = client.submit("/projects/samples/brand_voice")
        assert answer.status_code == 303
        address = answer.headers["location"]
        assert address.endswith("/training")
        with web.transaction() as session:
            project = session.scalars(select(Project)).one()
            assert project.base_model_id == STARTER_ID
            assert session.scalar(select(func.count()).select_from(Example)) == 283
        overview = client.page(address.removesuffix("/training"))
        assert "Everything is ready to train." in overview
        assert "Do you open on Sundays?" in overview
        assert client.submit("/projects/samples/nothing").status_code == 404
        assert client.submit("/projects/samples/..%2freports").status_code == 404


class TestMembers:
    def test_an_owner_adds_changes_and_removes_people(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        base = f"/projects/{project.id}"
        stranger = web.user(STRANGER).id
        form = {"email": " Stranger@example.org", "role": "viewer"}
        assert owner.submit(f"{base}/members", form).status_code == 303
        assert web.client_for(STRANGER).get(base).status_code == 200
        answer = owner.submit(f"{base}/members", form)
        assert answer.status_code == 409
        assert "already in this project" in answer.text
        member = f"{base}/members/{stranger}"
        assert owner.submit(f"{member}/role", {"role": "editor"}).status_code == 303
        changed = web.client_for(STRANGER).submit(f"{base}/settings", {"name": "Changed"})
        assert changed.status_code == 303
        assert owner.submit(f"{member}/role", {"role": "king"}).status_code == 422
        assert owner.submit(f"{member}/remove").status_code == 303
        assert web.client_for(STRANGER).get(base).status_code == 404

    def test_someone_without_an_account_is_named(self, web: Web) -> None:
        project = web.project()
        form = {"email": "nobody@example.org", "role": "editor"}
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/members", form)
        assert answer.status_code == 422
        assert "Nobody here has the address nobody@example.org." in answer.text
        assert 'value="nobody@example.org"' in answer.text
        assert '<option value="editor" selected>' in answer.text
        answer = web.client_for(OWNER).submit(
            f"/projects/{project.id}/members", {**form, "role": "viewer"}
        )
        assert '<option value="viewer" selected>' in answer.text, "no more than was meant"

    def test_removing_someone_asks_first(self, web: Web) -> None:
        project = web.project()
        page = web.client_for(OWNER).page(f"/projects/{project.id}/settings")
        removals = re.findall(r"<summary>Remove<span[^>]*>: (\w+)</span></summary>", page)
        assert sorted(removals) == ["Teammate", "Viewer"], "everyone but the owner"
        assert "Teammate will no longer see this project." in page

    def test_buttons_that_look_alike_are_told_apart_by_name(self, web: Web) -> None:
        project, admin = web.project(), web.client_for(ADMIN)
        admin.submit(f"/people/{web.user(STRANGER).id}/active")
        for email in ("one@example.org", "two@example.org"):
            admin.submit("/people/invitations", {"email": email})
        for email in (OWNER, TEAMMATE):
            admin.submit(f"/people/{web.user(email).id}/reset-link")
        people, settings = admin.page("/people"), f"/projects/{project.id}/settings"
        for page in (people, web.client_for(OWNER).page(settings)):
            heard = names_of_buttons(page)
            assert len(heard) == len(set(heard)), heard
        assert "Switch off: Owner" in names_of_buttons(people)
        account = names_of_buttons(admin.page("/account"))
        assert any(name.startswith("Sign out: ") for name in account)

    def test_the_last_owner_stays(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        member = f"/projects/{project.id}/members/{web.user(OWNER).id}"
        page = owner.page(f"/projects/{project.id}/settings")
        assert "make another person owner first" in page
        assert "Leave the project" not in page
        assert owner.submit(f"{member}/role", {"role": "viewer"}).status_code == 409
        assert owner.submit(f"{member}/remove").status_code == 409
        assert owner.submit(f"/projects/{project.id}/leave").status_code == 409
        teammate = f"/projects/{project.id}/members/{web.user(TEAMMATE).id}"
        assert owner.submit(f"{teammate}/role", {"role": "owner"}).status_code == 303
        assert owner.submit(f"{member}/role", {"role": "viewer"}).status_code == 303
        assert owner.submit(f"/projects/{project.id}/delete").status_code == 403

    def test_an_owner_who_was_switched_off_does_not_count(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        base, teammate = f"/projects/{project.id}", web.user(TEAMMATE).id
        owner.submit(f"{base}/members/{teammate}/role", {"role": "owner"})
        assert "Leave the project" in owner.page(f"{base}/settings")
        web.client_for(ADMIN).submit(f"/people/{teammate}/active")
        page = owner.page(f"{base}/settings")
        assert "Switched off" in page
        assert "Nobody else who can sign in owns this project." in page
        assert "Leave the project" not in page
        assert owner.submit(f"{base}/leave").status_code == 409
        own_role = f"{base}/members/{web.user(OWNER).id}/role"
        assert owner.submit(own_role, {"role": "editor"}).status_code == 409
        assert owner.submit(f"{base}/members/{teammate}/remove").status_code == 303
        web.client_for(ADMIN).submit(f"/people/{teammate}/active", {"is_active": "yes"})
        assert owner.get(base).status_code == 200

    def test_anyone_may_leave(self, web: Web) -> None:
        project, viewer = web.project(), web.client_for(VIEWER)
        assert "Leave the project" in viewer.page(f"/projects/{project.id}/settings")
        assert viewer.submit(f"/projects/{project.id}/leave").status_code == 303
        assert viewer.get(f"/projects/{project.id}").status_code == 404

    def test_an_owner_who_goes_is_not_led_to_a_page_that_is_gone(self, web: Web) -> None:
        project, owner = web.project("Shared work"), web.client_for(OWNER)
        base = f"/projects/{project.id}"
        teammate = web.user(TEAMMATE).id
        owner.submit(f"{base}/members/{teammate}/role", {"role": "owner"})
        page = owner.page(f"{base}/settings")
        assert "<summary>Leave the project</summary>" in page
        assert "Only another owner can make you an owner again." in page
        own = f"{base}/members/{web.user(OWNER).id}/remove"
        assert own not in page
        answer = owner.submit(own)
        assert answer.headers["location"] == "/"
        assert "You left “Shared work”." in owner.page("/")
        assert owner.get(base).status_code == 404

    def test_who_may_only_look_is_told_who_goes_on(self, web: Web) -> None:
        project, viewer = web.project(), web.client_for(VIEWER)
        base = f"/projects/{project.id}"
        page = viewer.page(base)
        assert "An owner or editor of this project has to add examples." in page
        assert f'href="{base}/settings"' in page
        with web.transaction() as session:
            add_examples(session, project.id, examples(3))
            session.merge(project).base_model_id = STARTER_ID
        for address in ("/", base, f"{base}/examples"):
            assert "An owner or editor of this project can start." in viewer.page(address)
        assert "Start training" not in viewer.page(base)
        assert f'href="{base}/chat">' in viewer.page(base)
        assert "Start training" in web.client_for(TEAMMATE).page(base)

    def test_administrators_see_no_more_than_others(self, web: Web) -> None:
        project = web.project("A private matter")
        admin = web.client_for(ADMIN)
        assert "A private matter" not in admin.page("/")
        assert admin.get(f"/projects/{project.id}").status_code == 404

    def test_everyone_sees_their_own_projects_only(self, web: Web) -> None:
        web.project("Shared work")
        assert "Shared work" in web.client_for(VIEWER).page("/")
        assert "Shared work" not in web.client_for(STRANGER).page("/")


class TestDeleting:
    def test_the_name_has_to_be_typed(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        answer = owner.submit(f"/projects/{project.id}/delete", {"confirmation": "Support"})
        assert answer.status_code == 422
        assert "nothing was deleted" in answer.text
        assert owner.get(f"/projects/{project.id}").status_code == 200

    def test_everything_goes_rows_and_files(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        run_id = _add_run(web, project.id, RunStatus.SUCCEEDED)
        with web.transaction() as session:
            upload = Import(project_id=project.id, file_name="a.csv")
            session.add(upload)
            session.add(
                Adapter(
                    run_id=run_id,
                    project_id=project.id,
                    version_number=1,
                    base_model_id=STARTER_ID,
                    sha256="0" * 64,
                    size_bytes=1,
                )
            )
            session.flush()
            kept = web.storage.folder("runs", "0000000000000000")
            (web.storage.folder("runs", run_id) / "recipe.json").write_text("{}")
            web.storage.path("uploads", upload.id).write_text("a,b")
        answer = owner.submit(f"/projects/{project.id}/delete", {"confirmation": "support mail"})
        assert answer.status_code == 303
        assert not web.storage.path("runs", run_id).exists()
        assert not web.storage.path("uploads", upload.id).exists()
        assert kept.exists()
        with web.transaction() as session:
            for table in (Project, ProjectMember, Run, Import, Adapter):
                assert session.scalar(select(func.count()).select_from(table)) == 0, table
        assert "is deleted" in owner.page("/")

    def test_a_training_that_is_not_over_blocks_it(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        run_id = _add_run(web, project.id, RunStatus.TRAINING)
        folder = web.storage.folder("runs", run_id)
        answer = owner.submit(f"/projects/{project.id}/delete", {"confirmation": project.name})
        assert answer.status_code == 409
        assert "while version 1 is being trained" in answer.text
        assert folder.exists()
        assert owner.get(f"/projects/{project.id}").status_code == 200

    def test_a_refused_deletion_has_touched_nothing(self, web: Web) -> None:
        project, owner = web.project(), web.client_for(OWNER)
        _add_examples(web, project.id)
        _add_run(web, project.id, RunStatus.QUEUED)
        answer = owner.submit(f"/projects/{project.id}/delete", {"confirmation": project.name})
        assert answer.status_code == 409
        assert "3 examples" in owner.page(f"/projects/{project.id}/examples")

    def test_what_a_crash_interrupts_is_out_of_sight_and_finished_later(self, web: Web) -> None:
        project, owner = web.project("Half deleted"), web.client_for(OWNER)
        _add_examples(web, project.id)
        run_id = _add_run(web, project.id, RunStatus.SUCCEEDED)
        web.storage.folder("runs", run_id)
        with web.transaction() as session:
            begin_deletion(session, session.merge(project), "half deleted")
        assert owner.get(f"/projects/{project.id}").status_code == 404
        assert "Half deleted" not in owner.page("/")
        with pytest.raises(UnknownProjectError), web.transaction() as session:
            hold_still(session, project.id)
        Sweeper(web.engine, web.storage).sweep()
        assert not web.storage.path("runs", run_id).exists()
        with web.transaction() as session:
            for table in (Project, Example, Run):
                assert session.scalar(select(func.count()).select_from(table)) == 0, table


def _add_examples(web: Web, project_id: str) -> None:
    with web.transaction() as session:
        add_examples(session, project_id, examples(3))


def test_roles_are_stored_as_plain_words(web: Web) -> None:
    project = web.project()
    with web.transaction() as session:
        roles = session.scalars(
            select(ProjectMember.role).where(ProjectMember.project_id == project.id)
        ).all()
    assert sorted(roles) == sorted([Role.OWNER, Role.EDITOR, Role.VIEWER])
