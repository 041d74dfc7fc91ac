"""Every query about people, their sessions, links and sign-in attempts."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.accounts.tables import LoginAttempt, OneTimeLink, User, UserSession


def add(session: Session, row: User | UserSession | OneTimeLink | LoginAttempt) -> None:
    session.add(row)
    session.flush()


def user_by_id(session: Session, user_id: str) -> User | None:
    return session.get(User, user_id)


def user_by_email(session: Session, email: str) -> User | None:
    return session.scalar(select(User).where(User.email == email))


def all_users(session: Session) -> Sequence[User]:
    return session.scalars(select(User).order_by(User.is_active.desc(), User.name, User.id)).all()


def anyone_exists(session: Session) -> bool:
    return session.scalar(select(User.id).limit(1)) is not None


def lock_active_administrators(session: Session) -> set[str]:
    """Return the ids of all active administrators, holding them still until the commit."""
    query = select(User.id).where(User.is_admin, User.is_active).order_by(User.id)
    return set(session.scalars(query.with_for_update()))


def session_and_user(session: Session, token_hash: str) -> tuple[UserSession, User] | None:
    row = session.execute(
        select(UserSession, User)
        .join(User, User.id == UserSession.user_id)
        .where(UserSession.token_hash == token_hash)
    ).first()
    return None if row is None else (row[0], row[1])


def session_by_id(session: Session, session_id: str) -> tuple[UserSession, User] | None:
    row = session.execute(
        select(UserSession, User)
        .join(User, User.id == UserSession.user_id)
        .where(UserSession.id == session_id)
    ).first()
    return None if row is None else (row[0], row[1])


def sessions_of(session: Session, user_id: str) -> Sequence[UserSession]:
    return session.scalars(
        select(UserSession)
        .where(UserSession.user_id == user_id)
        .order_by(UserSession.last_seen_at.desc(), UserSession.id)
    ).all()


def touch_session(session: Session, session_id: str, at: datetime) -> None:
    session.execute(update(UserSession).where(UserSession.id == session_id).values(last_seen_at=at))


def delete_session(session: Session, user_id: str, session_id: str) -> bool:
    """Delete one of a person's own sessions; say whether it was there."""
    result = session.execute(
        delete(UserSession)
        .where(UserSession.id == session_id, UserSession.user_id == user_id)
        .returning(UserSession.id)
    )
    return result.first() is not None


def delete_sessions(session: Session, user_id: str, *, keep_id: str | None = None) -> None:
    statement = delete(UserSession).where(UserSession.user_id == user_id)
    if keep_id is not None:
        statement = statement.where(UserSession.id != keep_id)
    session.execute(statement)


def delete_expired_sessions(session: Session, now: datetime, seen_before: datetime) -> None:
    session.execute(
        delete(UserSession).where(
            (UserSession.expires_at < now) | (UserSession.last_seen_at < seen_before)
        )
    )


def link_by_hash(session: Session, purpose: str, token_hash: str) -> OneTimeLink | None:
    return session.scalar(
        select(OneTimeLink).where(
            OneTimeLink.purpose == purpose, OneTimeLink.token_hash == token_hash
        )
    )


def open_link(session: Session, purpose: str, link_id: str) -> OneTimeLink | None:
    return session.scalar(
        select(OneTimeLink).where(
            OneTimeLink.id == link_id,
            OneTimeLink.purpose == purpose,
            OneTimeLink.used_at.is_(None),
        )
    )


def use_link(session: Session, link_id: str, at: datetime) -> bool:
    """Mark a link as used; False if someone else was faster."""
    result = session.execute(
        update(OneTimeLink)
        .where(OneTimeLink.id == link_id, OneTimeLink.used_at.is_(None))
        .values(used_at=at)
        .returning(OneTimeLink.id)
    )
    return result.first() is not None


def open_links(session: Session, purpose: str, now: datetime) -> Sequence[OneTimeLink]:
    return session.scalars(
        select(OneTimeLink)
        .where(
            OneTimeLink.purpose == purpose,
            OneTimeLink.used_at.is_(None),
            OneTimeLink.expires_at > now,
        )
        .order_by(OneTimeLink.created_at.desc(), OneTimeLink.id)
    ).all()


def open_reset_links(session: Session, now: datetime) -> Sequence[tuple[OneTimeLink, User]]:
    """Return the links for a new password that still work, with whom they are for."""
    rows = session.execute(
        select(OneTimeLink, User)
        .join(User, User.id == OneTimeLink.user_id)
        .where(
            OneTimeLink.purpose == "reset",
            OneTimeLink.used_at.is_(None),
            OneTimeLink.expires_at > now,
        )
        .order_by(OneTimeLink.created_at.desc(), OneTimeLink.id)
    )
    return [(link, user) for link, user in rows]


def delete_open_links(
    session: Session, purpose: str, *, email: str | None = None, user_id: str | None = None
) -> None:
    statement = delete(OneTimeLink).where(
        OneTimeLink.purpose == purpose, OneTimeLink.used_at.is_(None)
    )
    if email is not None:
        statement = statement.where(OneTimeLink.email == email)
    if user_id is not None:
        statement = statement.where(OneTimeLink.user_id == user_id)
    session.execute(statement)


def delete_links_of_maker(session: Session, user_id: str) -> None:
    """Delete the unused links that a person made for others."""
    session.execute(
        delete(OneTimeLink).where(
            OneTimeLink.created_by_id == user_id, OneTimeLink.used_at.is_(None)
        )
    )


def delete_link(session: Session, purpose: str, link_id: str) -> bool:
    result = session.execute(
        delete(OneTimeLink)
        .where(
            OneTimeLink.id == link_id,
            OneTimeLink.purpose == purpose,
            OneTimeLink.used_at.is_(None),
        )
        .returning(OneTimeLink.id)
    )
    return result.first() is not None


def failures_of_account(
    session: Session, account: str, since: datetime
) -> tuple[int, datetime | None]:
    """Return how often an account was tried in vain, and when last."""
    row = session.execute(
        select(func.count(), func.max(LoginAttempt.at)).where(
            LoginAttempt.account == account, LoginAttempt.at > since
        )
    ).one()
    return row[0], row[1]


def failures_of_address(
    session: Session, address: str, since: datetime
) -> tuple[int, datetime | None]:
    row = session.execute(
        select(func.count(), func.max(LoginAttempt.at)).where(
            LoginAttempt.address == address, LoginAttempt.at > since
        )
    ).one()
    return row[0], row[1]


def forget_failures(session: Session, account: str) -> None:
    session.execute(delete(LoginAttempt).where(LoginAttempt.account == account))


def forget_failures_before(session: Session, moment: datetime) -> None:
    session.execute(delete(LoginAttempt).where(LoginAttempt.at < moment))
