"""Who is there to work. Told by the workers themselves, every few seconds."""

from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.database.base import database_epoch
from app.leases.tables import LEASE_SECONDS
from app.workers.device import DeviceFacts
from app.workers.tables import Worker

# A worker sweeps, and says that it is there, three times in a lease.
GONE_AFTER_SECONDS: Final = LEASE_SECONDS * 1.5
_FORGOTTEN_AFTER_SECONDS: Final = 24 * 3600.0


def report(session: Session, name: str, queue: str, device: DeviceFacts | None = None) -> None:
    """Write down that a worker of a queue is there, and forget those long gone.

    Args:
        session: its edge commits.
        name: host and process, and the queue.
        queue: what it works for.
        device: on what it trains; None if it trains nothing.
    """
    facts = None if device is None else device.model_dump(mode="json")
    seen = session.execute(
        update(Worker)
        .where(Worker.name == name)
        .values(seen_at=database_epoch(), device=facts)
        .returning(Worker.name)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if seen is None:
        session.add(Worker(name=name, queue=queue, seen_at=database_epoch(), device=facts))
    session.execute(
        delete(Worker).where(Worker.seen_at < database_epoch() - _FORGOTTEN_AFTER_SECONDS)
    )


def is_anyone_there(session: Session, queue: str) -> bool:
    """Say whether a worker of this queue was there a moment ago."""
    query = (
        select(Worker.name)
        .where(Worker.queue == queue, Worker.seen_at > database_epoch() - GONE_AFTER_SECONDS)
        .limit(1)
    )
    return session.scalar(query) is not None


def devices_there(session: Session, queue: str) -> list[DeviceFacts]:
    """Return on what the workers of a queue train that were there a moment ago."""
    query = select(Worker.device).where(
        Worker.queue == queue,
        Worker.seen_at > database_epoch() - GONE_AFTER_SECONDS,
    )
    return [DeviceFacts.model_validate(facts) for facts in session.scalars(query) if facts]
