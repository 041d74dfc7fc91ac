"""Claim, hold and free rows. The database decides; nobody else's word counts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Row, Table, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.database.base import Base, database_epoch
from app.leases.tables import LEASE_SECONDS


class LostLeaseError(Exception):
    """Someone else owns the row now; the holder of the old fence must stop at once."""


def claim(
    session: Session,
    table: type[Base],
    entity_id: str,
    *,
    owner: str,
    claimable: Sequence[str],
    values: dict[str, Any] | None = None,
) -> int | None:
    """Take a row whose status is claimable and whose lease is free or expired.

    One conditional UPDATE: of any number of workers that try, one changes the row.

    Returns:
        The new fence, or None if there was nothing to claim.
    """
    row = claim_and_read(
        session, table, entity_id, (), owner=owner, claimable=claimable, values=values
    )
    return None if row is None else int(row[0])


def claim_and_read(
    session: Session,
    table: type[Base],
    entity_id: str,
    read: Sequence[InstrumentedAttribute[Any]],
    *,
    owner: str,
    claimable: Sequence[str],
    values: dict[str, Any] | None = None,
) -> Row[Any] | None:
    """Claim a row and read columns of it in the same statement.

    Returns:
        The new fence and the columns as they are from now on, or None if there was nothing to
        claim.
    """
    columns = _columns(table)
    statement = (
        update(columns)
        .where(
            columns.c.id == entity_id,
            columns.c.status.in_(list(claimable)),
            or_(
                columns.c.lease_expires_at.is_(None),
                columns.c.lease_expires_at < database_epoch(),
            ),
        )
        .values(
            fence=columns.c.fence + 1,
            attempts=columns.c.attempts + 1,
            lease_owner=owner,
            lease_expires_at=database_epoch() + LEASE_SECONDS,
            **(values or {}),
        )
        .returning(columns.c.fence, *(columns.c[attribute.key] for attribute in read))
    )
    return session.execute(statement).one_or_none()


def write_under_fence(
    session: Session, table: type[Base], entity_id: str, fence: int, **values: object
) -> None:
    """Change the row if the fence still is ours.

    Raises:
        LostLeaseError: if no row changed.
    """
    columns = _columns(table)
    result = session.execute(
        update(columns).where(columns.c.id == entity_id, columns.c.fence == fence).values(**values)
    )
    if not isinstance(result, CursorResult) or result.rowcount != 1:
        raise LostLeaseError(f"{columns.name} {entity_id} is no longer held under fence {fence}")


def extend(session: Session, table: type[Base], entity_id: str, fence: int) -> None:
    """Heartbeat: hold the row for another lease.

    Raises:
        LostLeaseError: if someone else owns it by now.
    """
    write_under_fence(
        session, table, entity_id, fence, lease_expires_at=database_epoch() + LEASE_SECONDS
    )


def release(
    session: Session, table: type[Base], entity_id: str, fence: int, **values: object
) -> None:
    """Give the row back, with last values.

    Raises:
        LostLeaseError: if someone else owns it by now.
    """
    write_under_fence(
        session, table, entity_id, fence, lease_owner=None, lease_expires_at=None, **values
    )


def expired(session: Session, table: type[Base], statuses: Sequence[str]) -> list[str]:
    """Return the ids of rows in these statuses whose lease ran out."""
    columns = _columns(table)
    return list(
        session.execute(
            select(columns.c.id).where(
                columns.c.status.in_(list(statuses)),
                columns.c.lease_expires_at < database_epoch(),
            )
        ).scalars()
    )


def _columns(table: type[Base]) -> Table:
    if not isinstance(table.__table__, Table):
        raise TypeError(f"{table.__name__} is not mapped to a table")
    return table.__table__
