"""What people do is written down with the deed itself, and stays when its object is gone."""

from collections.abc import Sequence

from app.accounts import links, service
from app.accounts import repository as accounts
from app.accounts.sign_in import Browser, note_failure
from app.accounts.tables import OneTimeLink
from app.audit import repository
from app.audit.service import Action, Actor, Thing, act_as, newest_events, record
from app.audit.tables import AuditEvent
from app.clock import now
from app.database.session import new_session
from app.projects.errors import LastOwnerError
from app.projects.service import create_project
from tests.support.web import ADMIN, OWNER, PASSWORD, STRANGER, TEAMMATE, VIEWER, Web

NEW_PASSWORD = "another four words"


def events(web: Web) -> Sequence[AuditEvent]:
    with web.transaction() as session:
        return newest_events(session)[::-1]


def actions(web: Web) -> list[str]:
    return [event.action for event in events(web)]


class TestAccounts:
    def test_coming_in_and_going_out(self, web: Web) -> None:
        browser = web.anonymous()
        for password in ("not the one", PASSWORD):
            browser.submit_from("/login", "/login", {"email": OWNER, "password": password})
        browser.submit_from("/account", "/logout", {})
        failed, came, went = events(web)
        assert [failed.action, came.action, went.action] == [
            Action.SIGN_IN_FAILED,
            Action.SIGNED_IN,
            Action.SIGNED_OUT,
        ]
        assert (failed.actor_id, failed.object_name) == (None, "Owner")
        assert came.actor_name == went.actor_name == "Owner"
        assert came.address == "testclient"

    def test_who_was_switched_off_and_still_knows_the_password_is_seen(self, web: Web) -> None:
        web.client_for(ADMIN).submit(f"/people/{web.user(STRANGER).id}/active", {"is_active": ""})
        form = {"email": STRANGER, "password": PASSWORD}
        assert web.anonymous().submit_from("/login", "/login", form).status_code == 403
        _, tried = events(web)
        assert (tried.action, tried.object_name) == (Action.SIGN_IN_FAILED, "Stranger")

    def test_what_was_typed_for_an_unknown_account_is_not_kept(self, web: Web) -> None:
        with web.transaction() as session:
            note_failure(session, "my secret by mistake", Browser("127.0.0.1", ""))
        (event,) = events(web)
        assert event.action == Action.SIGN_IN_FAILED
        assert "secret" not in f"{event.object_name}{event.object_id}{event.details}"

    def test_what_administrators_do_with_people(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        owner_id = web.user(OWNER).id
        admin.submit("/people/invitations", {"email": "new@example.org"})
        with web.transaction() as session:
            (link,) = accounts.open_links(session, links.INVITATION, now())
        admin.submit(f"/people/invitations/{link.id}/withdraw")
        for is_admin in ("yes", ""):
            admin.submit(f"/people/{owner_id}/administrator", {"is_admin": is_admin})
        admin.submit(f"/people/{owner_id}/reset-link")
        admin.submit(f"/people/reset-links/{_reset_link(web).id}/withdraw")
        for is_active in ("", "yes"):
            admin.submit(f"/people/{owner_id}/active", {"is_active": is_active})
        assert actions(web) == [
            Action.INVITED,
            Action.INVITATION_WITHDRAWN,
            Action.MADE_ADMINISTRATOR,
            Action.ADMINISTRATOR_NO_LONGER,
            Action.RESET_LINK_MADE,
            Action.RESET_LINK_WITHDRAWN,
            Action.SWITCHED_OFF,
            Action.SWITCHED_ON,
        ]
        assert {event.actor_name for event in events(web)} == {"Admin"}

    def test_passwords_and_sessions(self, web: Web) -> None:
        owner = web.client_for(OWNER)
        other = web.fresh_client_for(OWNER)
        with web.transaction() as session:
            sessions = accounts.sessions_of(session, web.user(OWNER).id)
        for row in sessions:
            if other.csrf_token == row.csrf_token:
                owner.submit(f"/account/sessions/{row.id}/end")
        form = {"current_password": PASSWORD, "password": NEW_PASSWORD}
        assert owner.submit("/account/password", form).status_code == 303
        assert actions(web) == [Action.SESSION_ENDED, Action.PASSWORD_CHANGED]

    def test_links_name_the_one_who_used_them(self, web: Web) -> None:
        with web.transaction() as session:
            act_as(session, Actor(name="the command line"))
            inviter = service.person(session, web.user(ADMIN).id)
            token = service.invite(session, inviter, "new@example.org", makes_admin=True)
        path = f"/invitation/{token}"
        form = {"name": "Newcomer", "password": NEW_PASSWORD}
        assert web.anonymous().submit_from(path, path, form).status_code == 303
        invited, accepted = events(web)
        assert (invited.actor_name, invited.address) == ("the command line", "")
        assert (accepted.actor_name, accepted.address) == ("Newcomer", "testclient")
        assert accepted.details == {"administrator": True}


class TestProjects:
    def test_members_come_change_and_go(self, web: Web) -> None:
        project = web.project()
        before = len(events(web))
        owner, base = web.client_for(OWNER), f"/projects/{project.id}"
        owner.submit(f"{base}/members", {"email": STRANGER, "role": "viewer"})
        stranger_id = web.user(STRANGER).id
        owner.submit(f"{base}/members/{stranger_id}/role", {"role": "editor"})
        owner.submit(f"{base}/members/{stranger_id}/remove")
        web.client_for(VIEWER).submit(f"{base}/leave")
        added, changed, removed, left = events(web)[before:]
        assert added.details == {"person": "Stranger", "role": "viewer"}
        assert changed.details == {"person": "Stranger", "role": "editor"}
        assert (removed.action, removed.details) == (Action.MEMBER_REMOVED, {"person": "Stranger"})
        assert (left.action, left.actor_name) == (Action.PROJECT_LEFT, "Viewer")

    def test_a_deleted_project_leaves_its_row(self, web: Web) -> None:
        owner = web.client_for(OWNER)
        owner.submit("/projects", {"name": "Short lived"})
        project_id = events(web)[-1].object_id
        answer = owner.submit(f"/projects/{project_id}/delete", {"confirmation": "Short lived"})
        assert answer.status_code == 303
        made, deleted = events(web)
        assert (made.action, deleted.action) == (Action.PROJECT_CREATED, Action.PROJECT_DELETED)
        assert (deleted.object_id, deleted.object_name) == (project_id, "Short lived")
        assert deleted.actor_name == "Owner"

    def test_what_is_refused_leaves_no_row(self, web: Web) -> None:
        project = web.project()
        before = actions(web)
        owner = web.client_for(OWNER)
        own_id = web.user(OWNER).id
        assert (
            owner.submit(f"/projects/{project.id}/leave").status_code == LastOwnerError.status_code
        )
        owner.submit(f"/projects/{project.id}/members/{own_id}/role", {"role": "viewer"})
        owner.submit(f"/projects/{project.id}/delete", {"confirmation": "Something else"})
        owner.submit(f"/projects/{project.id}/members", {"email": TEAMMATE})
        assert actions(web) == before

    def test_a_deed_that_is_rolled_back_leaves_no_row(self, web: Web) -> None:
        owner_id = web.user(OWNER).id
        with new_session(web.engine) as session:
            create_project(session, owner_id, "Never was")
            assert len(newest_events(session)) == 1
            session.rollback()
        assert actions(web) == []


class TestBaseModels:
    def test_the_access_token_comes_and_goes_without_being_shown(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        admin.submit("/base-models/token", {"token": "hf_secretsecret"})
        admin.submit("/base-models/token/forget")
        assert actions(web) == [Action.HUB_TOKEN_STORED, Action.HUB_TOKEN_FORGOTTEN]
        assert "secret" not in str([event.__dict__ for event in events(web)])

    def test_a_download_is_asked_for_and_the_model_deleted(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        assert admin.submit("/base-models/hub", {"hub_id": "maker/model"}).status_code == 303
        model_id = events(web)[-1].object_id
        admin.submit(f"/base-models/{model_id}/stop")
        assert admin.submit(f"/base-models/{model_id}/delete").status_code == 303
        asked, deleted = events(web)
        assert (asked.action, deleted.action) == (Action.DOWNLOAD_ASKED, Action.BASE_MODEL_DELETED)
        assert asked.object_name == deleted.object_name == "model"


class TestThePage:
    def test_it_says_in_words_who_did_what(self, web: Web) -> None:
        web.project("Very private name")
        web.client_for(ADMIN).submit(f"/people/{web.user(OWNER).id}/administrator")
        page = web.client_for(ADMIN).page("/people/history")
        assert "took the role of administrator from Owner" in page
        assert "added Teammate to a project (editor)" in page
        assert "Very private name" not in page
        assert web.client_for(VIEWER).get("/people/history").status_code == 403

    def test_every_action_has_its_words(self, web: Web) -> None:
        with web.transaction() as session:
            for action in Action:
                record(session, action, Thing("person", "1", "Mo"), person="Li", role="editor")
        page = web.client_for(ADMIN).page("/people/history")
        cells = page.split('data-label="What">')[1:]
        assert len(cells) == len(Action)
        assert all(cell.split("</td>")[0].strip() for cell in cells)

    def test_older_events_are_on_the_next_page(self, web: Web) -> None:
        with web.transaction() as session:
            for number in range(60):
                record(session, Action.INVITED, Thing("link", str(number), f"person-{number}@x"))
            oldest_shown = repository.newest(session, 50, None)[-1].id
        admin = web.client_for(ADMIN)
        assert "person-9@x" not in admin.page("/people/history")
        older = admin.page(f"/people/history?before={oldest_shown}")
        assert "person-9@x" in older
        assert "person-10@x" not in older


def _reset_link(web: Web) -> OneTimeLink:
    with web.transaction() as session:
        ((link, _),) = accounts.open_reset_links(session, now())
        return link
