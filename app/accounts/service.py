"""Accounts: how people come to have one, and what administrators can do for them."""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from app.accounts import repository
from app.accounts.errors import (
    EmailTakenError,
    InvalidEmailError,
    LastAdministratorError,
    LinkNotValidError,
    MissingNameError,
    UnknownPersonError,
    WrongCurrentPasswordError,
)
from app.accounts.links import (
    INVITATION,
    RESET,
    SETUP,
    check_link,
    make_link,
    use_link,
    withdraw_link,
)
from app.accounts.passwords import check_strength, hash_password, verify_password
from app.accounts.sign_in import forget_failures, normal_email, thing
from app.accounts.tables import OneTimeLink, User
from app.audit.service import Action, Thing, identify, record
from app.settings import Settings
from app.text import one_line

_LONGEST_NAME: Final = 200
# One @, something before it, a dot-free host is fine (a company's own network has such).
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f<>\"']{1,64}@[^@\s\x00-\x1f<>\"']{1,255}")


@dataclass(frozen=True)
class NewPerson:
    """What someone typed to get an account.

    Attributes:
        password_hash: made by the edge before its transaction, because it takes long and everyone
            else waits for a transaction that writes; None to have it made in it.
    """

    email: str
    name: str
    password: str
    password_hash: str | None = None


def setup_link(session: Session, settings: Settings) -> str | None:
    """Return a fresh one-time link that makes the first administrator.

    Returns:
        The full link, or None once anyone has an account. A link that was given out before and
        not used stops working.
    """
    if repository.anyone_exists(session):
        return None
    repository.delete_open_links(session, SETUP)
    token = make_link(session, OneTimeLink(purpose=SETUP, makes_admin=True))
    return f"{settings.resolved_public_url}/setup/{token}"


def add_user(
    session: Session,
    *,
    email: str,
    name: str,
    password: str,
    is_admin: bool = False,
    password_hash: str | None = None,
) -> User:
    """Add a person who can sign in at once."""
    email = checked_email(email)
    name = _checked_name(name)
    check_strength(password, email=email, name=name)
    if repository.user_by_email(session, email) is not None:
        raise EmailTakenError(email)
    user = User(
        email=email,
        name=name,
        password_hash=password_hash or hash_password(password),
        is_admin=is_admin,
    )
    repository.add(session, user)
    return user


def add_user_by_hand(
    session: Session, *, email: str, name: str, password: str, is_admin: bool
) -> User:
    """Add a person, for the one who runs Tailor."""
    user = add_user(session, email=email, name=name, password=password, is_admin=is_admin)
    record(session, Action.PERSON_ADDED, thing(user), administrator=is_admin)
    return user


def checked_email(email: str) -> str:
    """Return the address as it is stored, or raise InvalidEmailError."""
    email = normal_email(email)
    if not _EMAIL.fullmatch(email):
        raise InvalidEmailError
    return email


def complete_setup(session: Session, token: str, person: NewPerson) -> User:
    """Make the first administrator. The link works once, and only while nobody has an account."""
    link = check_link(session, SETUP, token)
    if repository.anyone_exists(session):
        raise LinkNotValidError
    user = add_user(
        session,
        email=person.email,
        name=person.name,
        password=person.password,
        is_admin=True,
        password_hash=person.password_hash,
    )
    use_link(session, link)
    identify(session, user.id, user.name)
    record(session, Action.SET_UP, thing(user))
    return user


def invite(session: Session, inviter: User, email: str, *, makes_admin: bool = False) -> str:
    """Return the token of an invitation. An earlier one for the same address stops working."""
    email = checked_email(email)
    if repository.user_by_email(session, email) is not None:
        raise EmailTakenError(email)
    repository.delete_open_links(session, INVITATION, email=email)
    link = OneTimeLink(
        purpose=INVITATION, email=email, makes_admin=makes_admin, created_by_id=inviter.id
    )
    token = make_link(session, link)
    record(session, Action.INVITED, Thing("link", link.id, email), administrator=makes_admin)
    return token


def accept_invitation(
    session: Session, token: str, name: str, password: str, password_hash: str | None = None
) -> User:
    link = check_link(session, INVITATION, token)
    user = add_user(
        session,
        email=link.email or "",
        name=name,
        password=password,
        is_admin=link.makes_admin,
        password_hash=password_hash,
    )
    use_link(session, link)
    identify(session, user.id, user.name)
    record(session, Action.INVITATION_ACCEPTED, thing(user), administrator=link.makes_admin)
    return user


def withdraw_invitation(session: Session, link_id: str) -> None:
    link = withdraw_link(session, INVITATION, link_id)
    record(session, Action.INVITATION_WITHDRAWN, Thing("link", link_id, link.email or ""))


def withdraw_reset_link(session: Session, link_id: str) -> None:
    user = person(session, withdraw_link(session, RESET, link_id).user_id or "")
    record(session, Action.RESET_LINK_WITHDRAWN, thing(user))


def reset_link(session: Session, maker: User, user_id: str) -> tuple[User, str]:
    """Return the person and the token with which they can choose a new password."""
    user = person(session, user_id)
    repository.delete_open_links(session, RESET, user_id=user.id)
    link = OneTimeLink(purpose=RESET, user_id=user.id, created_by_id=maker.id)
    token = make_link(session, link)
    record(session, Action.RESET_LINK_MADE, thing(user))
    return user, token


def person_of_reset_link(session: Session, token: str) -> User:
    link = check_link(session, RESET, token)
    user = repository.user_by_id(session, link.user_id or "")
    if user is None:
        raise LinkNotValidError
    return user


def use_reset_link(
    session: Session, token: str, password: str, password_hash: str | None = None
) -> User:
    """Set the password that a reset link allows to choose, and end all sessions."""
    link = check_link(session, RESET, token)
    user = person_of_reset_link(session, token)
    # Checked before the link is used up: who chose a weak password may try again.
    check_strength(password, email=user.email, name=user.name)
    use_link(session, link)
    _set_password(session, user, password, password_hash=password_hash)
    identify(session, user.id, user.name)
    record(session, Action.PASSWORD_RESET, thing(user))
    return user


def reset_password(session: Session, *, email: str, password: str) -> User:
    """Set a person's password, for the one who runs Tailor, and end all sessions."""
    user = repository.user_by_email(session, normal_email(email))
    if user is None:
        raise UnknownPersonError
    _set_password(session, user, password)
    record(session, Action.PASSWORD_RESET, thing(user))
    return user


@dataclass(frozen=True)
class PasswordChange:
    """A new password, and the hash that the old one was found to fit."""

    new: str
    new_hash: str
    proven_hash: str


def prepare_password_change(user: User, *, current: str, new: str) -> PasswordChange:
    """Do what takes long about a change of one's own password, before its transaction.

    Raises:
        WrongCurrentPasswordError: if the old one is not the person's.
        WeakPasswordError
    """
    if not verify_password(user.password_hash, current):
        raise WrongCurrentPasswordError
    check_strength(new, email=user.email, name=user.name)
    return PasswordChange(new, hash_password(new), user.password_hash)


def change_password(
    session: Session, user_id: str, session_id: str, change: PasswordChange
) -> None:
    """Change one's own password; every other session of the person ends.

    Raises:
        WrongCurrentPasswordError: if it was changed elsewhere since the old one was compared.
    """
    user = person(session, user_id)
    if user.password_hash != change.proven_hash:
        raise WrongCurrentPasswordError
    _set_password(
        session, user, change.new, keep_session_id=session_id, password_hash=change.new_hash
    )
    record(session, Action.PASSWORD_CHANGED, thing(user))


def change_name(session: Session, user_id: str, name: str) -> None:
    person(session, user_id).name = _checked_name(name)
    session.flush()


def person(session: Session, user_id: str) -> User:
    user = repository.user_by_id(session, user_id)
    if user is None:
        raise UnknownPersonError
    return user


def set_administrator(session: Session, user_id: str, *, is_admin: bool) -> User:
    user = person(session, user_id)
    if not is_admin:
        _require_another_administrator(session, user)
        # With a link kept for later, whoever is one no longer could make themselves one again.
        repository.delete_links_of_maker(session, user.id)
    user.is_admin = is_admin
    session.flush()
    action = Action.MADE_ADMINISTRATOR if is_admin else Action.ADMINISTRATOR_NO_LONGER
    record(session, action, thing(user))
    return user


def set_active(session: Session, user_id: str, *, is_active: bool) -> User:
    """Switch an account on or off.

    Switched off, its sessions end, and so do all open links: those for it and those it made.
    """
    user = person(session, user_id)
    if not is_active:
        _require_another_administrator(session, user)
        repository.delete_sessions(session, user.id)
        repository.delete_open_links(session, RESET, user_id=user.id)
        repository.delete_links_of_maker(session, user.id)
    user.is_active = is_active
    session.flush()
    record(session, Action.SWITCHED_ON if is_active else Action.SWITCHED_OFF, thing(user))
    return user


def _checked_name(name: str) -> str:
    name = one_line(name, _LONGEST_NAME)
    if not name:
        raise MissingNameError
    return name


def _require_another_administrator(session: Session, user: User) -> None:
    if repository.lock_active_administrators(session) == {user.id}:
        raise LastAdministratorError


def _set_password(
    session: Session,
    user: User,
    password: str,
    *,
    keep_session_id: str | None = None,
    password_hash: str | None = None,
) -> None:
    check_strength(password, email=user.email, name=user.name)
    user.password_hash = password_hash or hash_password(password)
    forget_failures(session, user.email)
    repository.delete_sessions(session, user.id, keep_id=keep_session_id)
    repository.delete_open_links(session, RESET, user_id=user.id)
    session.flush()
