"""What the queue remembers besides the runs: who had which device how long, and what is allowed."""

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class QueueLimit(Base):
    """How much one person may have, or everybody who has no row of their own."""

    __tablename__ = "queue_limits"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[str | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), unique=True
    )
    """None: everybody who has no row of their own."""
    runs_at_once: Mapped[int | None]
    """Most runs in work at one time; None for any number."""
    device_hours_a_week: Mapped[float | None]
    """Hours on any device in the last seven days; None for any number."""


class DeviceUse(Base):
    """One claim: from when to when a run had a device.

    The run is named and not referred to: whoever deletes a project has used the hours all the same.
    """

    __tablename__ = "device_uses"
    __table_args__ = (
        Index("ix_device_uses_person_ended", "person_id", "ended_at"),
        Index("ix_device_uses_run", "run_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(String(16))
    person_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    began_at: Mapped[float]
    """Seconds since 1970 on the database's clock."""
    ended_at: Mapped[float | None]
    """None while it lasts."""
