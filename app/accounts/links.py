"""Links that work once, for a limited time: to set Tailor up, to join, to choose a new password."""

from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from app.accounts import repository
from app.accounts.errors import LinkNotValidError
from app.accounts.tables import OneTimeLink
from app.accounts.tokens import new_token, token_hash
from app.clock import now

SETUP: Final = "setup"
INVITATION: Final = "invitation"
RESET: Final = "reset"

LIFETIMES: Final = {
    SETUP: timedelta(hours=24),
    INVITATION: timedelta(days=7),
    RESET: timedelta(hours=24),
}


def make_link(session: Session, link: OneTimeLink) -> str:
    """Store a link and return its token; only the token's hash is kept."""
    token = new_token()
    link.token_hash = token_hash(token)
    link.expires_at = now() + LIFETIMES[link.purpose]
    repository.add(session, link)
    return token


def check_link(session: Session, purpose: str, token: str) -> OneTimeLink:
    """Return the link a token stands for, or raise LinkNotValidError."""
    link = repository.link_by_hash(session, purpose, token_hash(token))
    if link is None or link.used_at is not None or link.expires_at <= now():
        raise LinkNotValidError
    return link


def use_link(session: Session, link: OneTimeLink) -> None:
    """Use a link up, or raise LinkNotValidError if someone else was faster."""
    if not repository.use_link(session, link.id, now()):
        raise LinkNotValidError


def withdraw_link(session: Session, purpose: str, link_id: str) -> OneTimeLink:
    """Delete a link that was not used, and return what it was.

    Raises:
        LinkNotValidError: if it was used or withdrawn already.
    """
    link = repository.open_link(session, purpose, link_id)
    if link is None or not repository.delete_link(session, purpose, link_id):
        raise LinkNotValidError
    return link
