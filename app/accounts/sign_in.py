"""Coming in, staying in, and going out.

Signing in takes three steps, because checking a password is slow on purpose and must not hold the
database while it lasts: `begin_attempt` counts the try before anything is known (so that many
tries at once are all counted), `verify_password` runs outside of any transaction, and
`complete_sign_in` opens the session and forgets the failures.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from app.accounts import repository
from app.accounts.errors import (
    AccountClosedError,
    TooManyAttemptsError,
    UnknownPersonError,
    WrongPasswordError,
)
from app.accounts.passwords import hash_password, needs_rehash
from app.accounts.tables import LoginAttempt, User, UserSession
from app.accounts.tokens import new_token, token_hash
from app.audit.service import Action, Actor, Thing, act_as, record
from app.clock import now

IDLE_LIFETIME: Final = timedelta(days=7)
ABSOLUTE_LIFETIME: Final = timedelta(days=30)
SEEN_PRECISION: Final = timedelta(minutes=1)

_WINDOW: Final = timedelta(minutes=15)
_LONGEST_WAIT: Final = 900
_FREE_PER_ACCOUNT: Final = 5
_FIRST_WAIT_PER_ACCOUNT: Final = 30
# Many people may share one address, so an address is slowed down later than an account.
_FREE_PER_ADDRESS: Final = 40
_FIRST_WAIT_PER_ADDRESS: Final = 10


@dataclass(frozen=True)
class Browser:
    """What is known of the program someone signs in with."""

    address: str
    user_agent: str
    previous_token: str = ""
    """The session token it still carried, if any; replaced at sign-in."""


@dataclass(frozen=True)
class NewSession:
    """A session that was just opened. The token is known here and in the browser only."""

    token: str
    lifetime: timedelta


@dataclass(frozen=True)
class SignedIn:
    """Who a request comes from. Both rows are detached: they are read, never written."""

    user: User
    session: UserSession

    def seen_long_ago(self) -> bool:
        return now() - self.session.last_seen_at > SEEN_PRECISION


def normal_email(email: str) -> str:
    return email.strip().lower()


def begin_attempt(session: Session, email: str, address: str) -> str | None:
    """Count one try and return the password hash to check it against; None for a stranger.

    Raises:
        TooManyAttemptsError: if the account or the address has to wait; the try is not counted.
    """
    account = _account_key(email)
    wait = _seconds_to_wait(session, account, address)
    if wait > 0:
        raise TooManyAttemptsError(wait)
    repository.add(session, LoginAttempt(account=account, address=address))
    user = repository.user_by_email(session, normal_email(email))
    return None if user is None else user.password_hash


def complete_sign_in(
    session: Session, email: str, password: str, browser: Browser
) -> NewSession | AccountClosedError:
    """Open a session for someone whose password was right."""
    user = repository.user_by_email(session, normal_email(email))
    if user is None:
        # The account went away while its password was being checked.
        raise WrongPasswordError
    forget_failures(session, email)
    if not user.is_active:
        note_failure(session, email, browser)
        return AccountClosedError()
    if needs_rehash(user.password_hash):
        user.password_hash = hash_password(password)
    act_as(session, Actor(user.id, user.name, browser.address))
    record(session, Action.SIGNED_IN, thing(user))
    return open_session(session, user, browser)


def note_failure(session: Session, email: str, browser: Browser) -> None:
    """Write down that someone was not let in.

    Whose account it was is known only where there is one: what was typed is never kept, since it
    may be a password in the wrong field.
    """
    act_as(session, Actor(address=browser.address))
    user = repository.user_by_email(session, normal_email(email))
    record(session, Action.SIGN_IN_FAILED, Thing("person") if user is None else thing(user))


def forget_failures(session: Session, email: str) -> None:
    """Let an account be signed in to at once, whatever was guessed before."""
    repository.forget_failures(session, _account_key(email))


def open_session(session: Session, user: User, browser: Browser) -> NewSession:
    """Give the browser a new session; the one it carried ends."""
    moment = now()
    token = new_token()
    # Before the expired ones go: the previous one may be among them.
    form_token = _end_previous(session, user, browser.previous_token) or new_token()
    repository.delete_expired_sessions(session, moment, moment - IDLE_LIFETIME)
    repository.forget_failures_before(session, moment - timedelta(days=1))
    repository.add(
        session,
        UserSession(
            user_id=user.id,
            token_hash=token_hash(token),
            csrf_token=form_token,
            created_at=moment,
            last_seen_at=moment,
            expires_at=moment + ABSOLUTE_LIFETIME,
            user_agent=browser.user_agent[:300],
            address=browser.address[:64],
        ),
    )
    return NewSession(token, ABSOLUTE_LIFETIME)


def recognise(session: Session, token: str) -> SignedIn | None:
    """Return who carries this token, if the session is alive and the account is not closed."""
    if not token:
        return None
    return _alive(repository.session_and_user(session, token_hash(token)))


def recognise_again(session: Session, session_id: str) -> SignedIn | None:
    """The same for a session known by its id: a long stream asks from time to time."""
    return _alive(repository.session_by_id(session, session_id))


def touch(session: Session, session_id: str) -> None:
    repository.touch_session(session, session_id, now())


def sign_out(session: Session, user: User, session_id: str) -> None:
    """End the session that a person is using."""
    if repository.delete_session(session, user.id, session_id):
        record(session, Action.SIGNED_OUT, thing(user))


def end_session(session: Session, user: User, session_id: str) -> None:
    """End one of a person's own sessions.

    Raises:
        UnknownPersonError: if the person has none with this id.
    """
    if not repository.delete_session(session, user.id, session_id):
        raise UnknownPersonError
    record(session, Action.SESSION_ENDED, thing(user))


def thing(user: User) -> Thing:
    """Return a person as what was acted upon."""
    return Thing("person", user.id, user.name)


def _alive(found: tuple[UserSession, User] | None) -> SignedIn | None:
    if found is None:
        return None
    row, user = found
    moment = now()
    idle = moment - row.last_seen_at > IDLE_LIFETIME
    if not user.is_active or idle or row.expires_at <= moment:
        return None
    return SignedIn(user, row)


def _end_previous(session: Session, user: User, previous_token: str) -> str | None:
    """End the session the browser carried, and keep its form token if it was the same person's.

    So a form that was being filled in when the session ran out can still be sent after signing
    in again in another tab.
    """
    found = repository.session_and_user(session, token_hash(previous_token))
    if found is None:
        return None
    row, owner = found
    repository.delete_session(session, owner.id, row.id)
    return row.csrf_token if owner.id == user.id else None


def _account_key(email: str) -> str:
    # A hash, so that the table never shows a password typed into the wrong field.
    return hashlib.sha256(normal_email(email).encode()).hexdigest()


def _seconds_to_wait(session: Session, account: str, address: str) -> int:
    moment = now()
    since = moment - _WINDOW
    count, last = repository.failures_of_account(session, account, since)
    for_account = _wait(count - _FREE_PER_ACCOUNT, _FIRST_WAIT_PER_ACCOUNT, last, moment)
    count, last = repository.failures_of_address(session, address, since)
    for_address = _wait(count - _FREE_PER_ADDRESS, _FIRST_WAIT_PER_ADDRESS, last, moment)
    return max(for_account, for_address)


def _wait(excess: int, first_wait: int, last: datetime | None, moment: datetime) -> int:
    """Seconds still to wait: the first wait, doubled with every further failure."""
    if excess < 0 or last is None:
        return 0
    wait = min(first_wait << min(excess, 10), _LONGEST_WAIT)
    return max(0, round(wait - (moment - last).total_seconds()))
