"""Coming in for the first time, coming in again, and being kept out."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.accounts import service
from app.accounts.sign_in import IDLE_LIFETIME
from app.accounts.tables import LoginAttempt, OneTimeLink, User, UserSession
from app.accounts.tokens import token_hash
from app.clock import now
from tests.support.web import ADMIN, OWNER, PASSWORD, STRANGER, TEAMMATE, Client, Web

NEW_PASSWORD = "a longer one than before"
_LINK = re.compile(r"http://127\.0\.0\.1:8000(/(?:invitation|reset)/[\w-]+)")


def _sign_in(client: Client, email: str, password: str, target: str = "/") -> int:
    form = {"email": email, "password": password, "next": target}
    return client.submit_from("/login", "/login", form).status_code


def _path(link: str) -> str:
    return link.removeprefix("http://127.0.0.1:8000")


def _new_link(admin: Client, url: str, form: dict[str, str] | None = None) -> str:
    """Make a link, and read it on the page that the browser is sent to."""
    answer = admin.submit(url, form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/people")
    match = _LINK.search(admin.page("/people"))
    assert match is not None
    return match[1]


def _empty(web: Web) -> None:
    with web.transaction() as session:
        for user in session.scalars(select(User)):
            session.delete(user)


class TestSetUp:
    def test_the_link_makes_one_administrator_and_works_once(self, web: Web) -> None:
        _empty(web)
        with web.transaction() as session:
            path = _path(service.setup_link(session, web.settings) or "")
        browser, late = web.anonymous(), web.anonymous()
        form = {"name": "Anna", "email": " Anna@Example.org ", "password": PASSWORD}
        assert browser.submit_from(path, path, form).status_code == 303
        assert "Tailor is set up" in browser.page("/")
        assert "administrator" not in browser.page("/")
        assert web.user("anna@example.org").is_admin
        assert late.get(path).status_code == 410
        with web.transaction() as session:
            assert service.setup_link(session, web.settings) is None

    def test_asking_again_makes_the_first_link_useless(self, web: Web) -> None:
        _empty(web)
        with web.transaction() as session:
            first = _path(service.setup_link(session, web.settings) or "")
        with web.transaction() as session:
            second = _path(service.setup_link(session, web.settings) or "")
        assert web.anonymous().get(first).status_code == 410
        assert web.anonymous().get(second).status_code == 200

    def test_it_lasts_a_day_and_only_its_hash_is_kept(self, web: Web) -> None:
        _empty(web)
        with web.transaction() as session:
            path = _path(service.setup_link(session, web.settings) or "")
            kept = session.scalars(select(OneTimeLink)).one()
            assert kept.token_hash == token_hash(path.rsplit("/", 1)[1])
            assert timedelta(hours=23) < kept.expires_at - now() <= timedelta(hours=24)
            kept.expires_at = now() - timedelta(seconds=1)
        assert web.anonymous().get(path).status_code == 410

    def test_mistakes_are_shown_beside_the_field_and_nothing_typed_is_lost(self, web: Web) -> None:
        _empty(web)
        with web.transaction() as session:
            path = _path(service.setup_link(session, web.settings) or "")
        browser = web.anonymous()
        for form, field, sentence in (
            ({"name": "", "email": "a@b.org", "password": PASSWORD}, "name", "A name is missing."),
            (
                {"name": "Anna", "email": "anna", "password": PASSWORD},
                "email",
                "not an e-mail address",
            ),
            (
                {"name": "Anna", "email": "a@b.org", "password": "password1"},
                "password",
                "too easy to guess",
            ),
        ):
            answer = browser.submit_from(path, path, form)
            assert answer.status_code == 422
            assert sentence in answer.text
            assert re.findall(r'name="(\w+)"[^>]* autofocus', answer.text) == [field]
            assert f'value="{form["email"]}"' in answer.text
            assert form["password"] not in answer.text.replace('type="password"', "")
        assert "Nobody has an account here yet" in browser.page("/login")


class TestSigningIn:
    def test_the_right_password_opens_and_leads_where_one_wanted(self, web: Web) -> None:
        browser = web.anonymous()
        form = {"email": "OWNER@example.org", "password": PASSWORD, "next": "/account?x=1"}
        answer = browser.submit_from("/login", "/login", form)
        assert answer.headers["location"] == "/account?x=1"
        assert "owner@example.org" in browser.page("/account")

    def test_the_cookie_is_out_of_reach_and_only_its_hash_is_kept(self, web: Web) -> None:
        browser = web.anonymous()
        form = {"email": OWNER, "password": PASSWORD}
        answer = browser.submit_from("/login", "/login", form)
        cookie = next(c for c in answer.headers.get_list("set-cookie") if "tailor_session" in c)
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Domain" not in cookie
        token = cookie.partition("=")[2].partition(";")[0]
        assert len(token) >= 43
        with web.transaction() as session:
            hashes = session.scalars(select(UserSession.token_hash)).all()
        assert token not in hashes
        assert token_hash(token) in hashes

    def test_a_new_sign_in_ends_the_session_the_browser_carried(self, web: Web) -> None:
        browser = web.fresh_client_for(OWNER)
        carried = browser.cookies["tailor_session"]
        form = {"email": OWNER, "password": PASSWORD}
        answer = browser.submit("/login", form)
        assert answer.status_code == 303
        with web.transaction() as session:
            kept = session.scalars(select(UserSession.token_hash)).one()
        assert kept != token_hash(carried)

    def test_a_stranger_and_a_wrong_password_read_the_same(self, web: Web) -> None:
        browser = web.anonymous()
        texts = []
        for email in (OWNER, "nobody@example.org"):
            form = {"email": email, "password": "not the one"}
            answer = browser.submit_from("/login", "/login", form)
            assert answer.status_code == 422
            assert f'value="{email}"' in answer.text
            texts.append(answer.text.replace(email, ""))
        assert texts[0] == texts[1]

    def test_common_pairs_fail(self, web: Web) -> None:
        pairs = (
            (ADMIN, "admin"), (ADMIN, "admin123"), ("admin", "admin"), ("root", "root"),
            ("tailor", "tailor"), (ADMIN, ""), ("", ""), ("' OR 1=1 --", "x"),
        )  # fmt: skip
        for email, password in pairs:
            assert _sign_in(web.anonymous(), email, password) == 422, (email, password)

    def test_a_closed_account_says_so_only_to_its_owner(self, web: Web) -> None:
        with web.transaction() as session:
            session.execute(update(User).where(User.email == STRANGER).values(is_active=False))
        browser = web.anonymous()
        assert _sign_in(browser, STRANGER, "not the one") == 422
        form = {"email": STRANGER, "password": PASSWORD}
        answer = browser.submit_from("/login", "/login", form)
        assert answer.status_code == 403
        assert "switched off" in answer.text


class TestGuessing:
    def test_an_account_is_slowed_down_and_says_how_long(self, web: Web) -> None:
        browser = web.anonymous()
        for _ in range(5):
            assert _sign_in(browser, OWNER, "not the one") == 422
        answer = browser.submit_from("/login", "/login", {"email": OWNER, "password": PASSWORD})
        assert answer.status_code == 429
        wait = int(answer.headers["retry-after"])
        assert 10 < wait <= 30
        assert f"Try again in {wait} seconds." in answer.text
        assert _sign_in(browser, STRANGER, PASSWORD) == 303

    def test_it_opens_again_after_the_wait_and_success_forgets(self, web: Web) -> None:
        browser = web.anonymous()
        for _ in range(5):
            _sign_in(browser, OWNER, "not the one")
        earlier = now() - timedelta(seconds=40)
        with web.transaction() as session:
            session.execute(update(LoginAttempt).values(at=earlier))
        assert _sign_in(browser, OWNER, PASSWORD) == 303
        with web.transaction() as session:
            assert session.scalars(select(LoginAttempt)).all() == []

    def test_the_wait_grows(self, web: Web) -> None:
        account = "0" * 64
        with web.transaction() as session:
            for _ in range(60):
                session.add(LoginAttempt(account=account, address="testclient", at=now()))
        browser = web.anonymous()
        answer = browser.submit_from("/login", "/login", {"email": OWNER, "password": PASSWORD})
        assert answer.status_code == 429
        assert "Try again in 15 minutes." in answer.text

    def test_a_new_password_opens_a_slowed_down_account_at_once(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        path = _new_link(admin, f"/people/{web.user(OWNER).id}/reset-link")
        browser = web.anonymous()
        for _ in range(7):
            _sign_in(browser, OWNER, "not the one")
        assert browser.submit_from(path, path, {"password": NEW_PASSWORD}).status_code == 303
        assert _sign_in(web.anonymous(), OWNER, NEW_PASSWORD) == 303

    def test_the_table_never_holds_what_was_typed(self, web: Web) -> None:
        _sign_in(web.anonymous(), "my secret by mistake", "x")
        with web.transaction() as session:
            attempt = session.scalars(select(LoginAttempt)).one()
        assert "secret" not in attempt.account


class TestSessions:
    def test_signing_out_ends_the_session_for_good(self, web: Web) -> None:
        client = web.fresh_client_for(OWNER)
        token = client.cookies["tailor_session"]
        assert client.submit("/logout").status_code == 303
        client.cookies.set("tailor_session", token)
        assert client.get("/").status_code == 303

    def test_a_session_ends_after_a_week_unused_and_a_month_in_all(self, web: Web) -> None:
        for column in ("last_seen_at", "expires_at"):
            client = web.fresh_client_for(OWNER)
            assert client.get("/").status_code == 200
            past = now() - IDLE_LIFETIME - timedelta(minutes=1)
            with web.transaction() as session:
                session.execute(update(UserSession).values({column: past}))
            assert client.get("/").status_code == 303, column

    def test_being_seen_is_noted_once_a_minute_at_most(self, web: Web) -> None:
        client = web.fresh_client_for(OWNER)
        past = now() - timedelta(minutes=2)
        with web.transaction() as session:
            session.execute(update(UserSession).values(last_seen_at=past))
        client.get("/")
        with web.transaction() as session:
            first = session.scalars(select(UserSession.last_seen_at)).one()
        assert first > past + timedelta(minutes=1)
        client.get("/")
        with web.transaction() as session:
            assert session.scalars(select(UserSession.last_seen_at)).one() == first

    def test_another_browser_can_be_signed_out_but_not_another_persons(self, web: Web) -> None:
        here, there = web.fresh_client_for(OWNER), web.fresh_client_for(OWNER)
        stranger = web.fresh_client_for(STRANGER)
        with web.transaction() as session:
            own = token_hash(there.cookies["tailor_session"])
            there_id = session.scalars(
                select(UserSession.id).where(UserSession.token_hash == own)
            ).one()
        path = f"/account/sessions/{there_id}/end"
        assert there_id in here.page("/account")
        assert stranger.submit(path).status_code == 404
        assert there.get("/").status_code == 200
        assert here.submit(path).status_code == 303
        assert there.get("/").status_code == 303
        assert here.get("/").status_code == 200

    def test_changing_the_password_signs_every_other_browser_out(self, web: Web) -> None:
        here, there = web.fresh_client_for(OWNER), web.fresh_client_for(OWNER)
        form = {"current_password": "not the one", "password": NEW_PASSWORD}
        answer = here.submit("/account/password", form)
        assert answer.status_code == 422
        assert "not your present password" in answer.text
        form["current_password"] = PASSWORD
        assert here.submit("/account/password", form).status_code == 303
        assert here.get("/").status_code == 200
        assert there.get("/").status_code == 303
        assert _sign_in(web.anonymous(), OWNER, PASSWORD) == 422
        assert _sign_in(web.anonymous(), OWNER, NEW_PASSWORD) == 303

    def test_a_form_survives_signing_in_again_in_another_tab(self, web: Web) -> None:
        client = web.fresh_client_for(OWNER)
        with web.transaction() as session:
            session.execute(update(UserSession).values(expires_at=now() - timedelta(hours=1)))
        answer = client.submit("/projects", {"name": "Half written"})
        assert answer.status_code == 401
        assert "what you typed is still there" in answer.text
        token = client.csrf_token
        assert _sign_in(client, OWNER, PASSWORD) == 303
        client.csrf_token = token
        assert client.submit("/projects", {"name": "Half written"}).status_code == 303


class TestPeople:
    def test_an_invitation_is_shown_once_and_lets_one_person_in(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        path = _new_link(admin, "/people/invitations", {"email": "New@example.org"})
        assert path not in admin.page("/people"), "shown once"
        guest = web.anonymous()
        assert (
            guest.submit_from(path, path, {"name": "Nora", "password": PASSWORD}).status_code == 303
        )
        assert "Welcome" in guest.page("/")
        assert not web.user("new@example.org").is_admin
        assert web.anonymous().get(path).status_code == 410

    def test_reloading_the_page_that_shows_a_link_leaves_the_link_alive(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        for url, form in (
            ("/people/invitations", {"email": "new@example.org"}),
            (f"/people/{web.user(OWNER).id}/reset-link", {}),
        ):
            path = _new_link(admin, url, form)
            # Loading anew asks for the page, which is no answer to the form.
            admin.page("/people")
            assert web.anonymous().get(path).status_code == 200

    def test_a_new_link_is_for_the_eyes_of_whoever_made_it(self, web: Web) -> None:
        admin, other = web.client_for(ADMIN), web.fresh_client_for(ADMIN)
        answer = admin.submit("/people/invitations", {"email": "new@example.org"})
        assert "HttpOnly" in answer.headers["set-cookie"]
        value = admin.cookies["tailor_link"]
        other.cookies.set("tailor_link", value)
        assert _LINK.search(other.page("/people")) is None, "another sign-in"
        admin.cookies.delete("tailor_link")
        admin.cookies.set("tailor_link", f"{value[:-1]}{'A' if value[-1] != 'A' else 'B'}")
        assert _LINK.search(admin.page("/people")) is None, "not signed by this Tailor"

    def test_a_link_says_until_which_minute_it_works(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        _new_link(admin, f"/people/{web.user(OWNER).id}/reset-link")
        _new_link(admin, "/people/invitations", {"email": "new@example.org"})
        times = re.findall(r'data-label="Works until"><time[^>]*>([^<]+)<', admin.page("/people"))
        assert len(times) == 2
        assert all(re.search(r", \d\d:\d\d UTC$", words) for words in times)

    def test_an_invitation_can_be_withdrawn(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        path = _new_link(admin, "/people/invitations", {"email": "new@example.org"})
        with web.transaction() as session:
            link_id = session.scalars(select(OneTimeLink.id)).one()
        assert admin.submit(f"/people/invitations/{link_id}/withdraw").status_code == 303
        assert web.anonymous().get(path).status_code == 410

    def test_who_has_an_account_is_not_invited_again(self, web: Web) -> None:
        answer = web.client_for(ADMIN).submit("/people/invitations", {"email": OWNER})
        assert answer.status_code == 409
        assert "has an account already" in answer.text
        assert 'name="makes_admin" value="yes" checked' not in answer.text

    def test_a_mistaken_invitation_keeps_what_was_chosen(self, web: Web) -> None:
        form = {"email": OWNER, "makes_admin": "yes"}
        answer = web.client_for(ADMIN).submit("/people/invitations", form)
        assert answer.status_code == 409
        assert 'name="makes_admin" value="yes" checked' in answer.text

    def test_a_reset_link_sets_a_password_once_and_ends_all_sessions(self, web: Web) -> None:
        admin, owner = web.client_for(ADMIN), web.client_for(OWNER)
        user_id = web.user(OWNER).id
        path = _new_link(admin, f"/people/{user_id}/reset-link")
        guest = web.anonymous()
        assert guest.submit_from(path, path, {"password": "short"}).status_code == 422
        assert guest.submit_from(path, path, {"password": NEW_PASSWORD}).status_code == 303
        assert owner.get("/").status_code == 303
        assert guest.get(path).status_code == 410
        assert _sign_in(web.anonymous(), OWNER, NEW_PASSWORD) == 303

    def test_switching_someone_off_signs_them_out_at_once(self, web: Web) -> None:
        admin, owner = web.client_for(ADMIN), web.client_for(OWNER)
        user_id = web.user(OWNER).id
        assert owner.get("/").status_code == 200
        assert admin.submit(f"/people/{user_id}/active").status_code == 303
        assert owner.get("/").status_code == 303
        assert admin.submit(f"/people/{user_id}/active", {"is_active": "yes"}).status_code == 303
        assert _sign_in(web.anonymous(), OWNER, PASSWORD) == 303

    @pytest.mark.parametrize("what", ["active", "administrator"])
    def test_whoever_is_administrator_no_longer_has_no_way_back(self, web: Web, what: str) -> None:
        admin, rogue = web.client_for(ADMIN), web.client_for(OWNER)
        rogue_id = web.user(OWNER).id
        admin.submit(f"/people/{rogue_id}/administrator", {"is_admin": "yes"})
        invited = {"email": "friend@example.org", "makes_admin": "yes"}
        paths = [
            _new_link(rogue, "/people/invitations", invited),
            _new_link(rogue, f"/people/{web.user(ADMIN).id}/reset-link"),
        ]
        assert admin.submit(f"/people/{rogue_id}/{what}").status_code == 303
        for path in paths:
            assert web.anonymous().get(path).status_code == 410

    def test_links_work_no_longer_than_they_say(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        invited = _new_link(admin, "/people/invitations", {"email": "new@example.org"})
        reset = _new_link(admin, f"/people/{web.user(OWNER).id}/reset-link")
        for path, lifetime in ((invited, timedelta(days=7)), (reset, timedelta(hours=24))):
            kept_hash = token_hash(path.rpartition("/")[2])
            link = OneTimeLink.token_hash == kept_hash
            with web.transaction() as session:
                kept = session.scalars(select(OneTimeLink).where(link)).one()
                assert lifetime - timedelta(minutes=5) < kept.expires_at - now() <= lifetime
                kept.expires_at = now() - timedelta(seconds=1)
            assert web.anonymous().get(path).status_code == 410

    def test_links_for_a_new_password_are_listed_and_withdrawn(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        path = _new_link(admin, f"/people/{web.user(OWNER).id}/reset-link")
        withdrawal = re.search(r"/people/reset-links/\w+/withdraw", admin.page("/people"))
        assert withdrawal is not None
        assert admin.submit(withdrawal[0]).status_code == 303
        assert web.anonymous().get(path).status_code == 410
        assert "/people/reset-links/" not in admin.page("/people")

    def test_a_project_whose_owner_was_switched_off_gets_a_new_one(self, web: Web) -> None:
        project = web.project("Very private name")
        admin = web.client_for(ADMIN)
        give = f"/people/projects/{project.id}/owner"
        assert admin.submit(give, {"email": TEAMMATE}).status_code == 404
        admin.submit(f"/people/{web.user(OWNER).id}/active")
        page = admin.page("/people")
        assert give in page
        assert "Very private name" not in page
        unknown = admin.submit(give, {"email": "nobody@example.org"})
        assert unknown.status_code == 422
        assert "nobody@example.org" in unknown.text
        assert admin.submit(give, {"email": TEAMMATE}).status_code == 303
        assert give not in admin.page("/people")
        kept = web.client_for(TEAMMATE).submit(
            f"/projects/{project.id}/members", {"email": STRANGER, "role": "viewer"}
        )
        assert kept.status_code == 303
        assert admin.get(f"/projects/{project.id}").status_code == 404

    def test_the_last_administrator_stays_one(self, web: Web) -> None:
        admin = web.client_for(ADMIN)
        own, other = web.user(ADMIN).id, web.user(OWNER).id
        for what in ("administrator", "active"):
            answer = admin.submit(f"/people/{own}/{what}")
            assert answer.status_code == 409
            assert "the only administrator" in answer.text
        assert (
            admin.submit(f"/people/{other}/administrator", {"is_admin": "yes"}).status_code == 303
        )
        assert admin.submit(f"/people/{own}/administrator").status_code == 303
        assert admin.get("/people").status_code == 403

    def test_the_command_lines_functions(self, web: Web) -> None:
        client = web.client_for(OWNER)
        with web.transaction() as session:
            service.add_user(session, email="X@example.org", name="X", password=PASSWORD)
            service.reset_password(session, email=OWNER, password=NEW_PASSWORD)
        assert client.get("/").status_code == 303
        assert _sign_in(web.anonymous(), "x@example.org", PASSWORD) == 303
