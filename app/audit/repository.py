"""Every query about what happened: rows are added and read, never changed."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.tables import AuditEvent


def add(session: Session, event: AuditEvent) -> None:
    session.add(event)
    session.flush()


def newest(session: Session, limit: int, before_id: int | None) -> Sequence[AuditEvent]:
    """Return the newest events, or the newest of those before a certain one."""
    query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(AuditEvent.id < before_id)
    return session.scalars(query).all()
