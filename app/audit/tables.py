"""What people did that others may have to know of later."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base, JsonObject


class AuditEvent(Base):
    """One thing that was done. Rows are added and never changed.

    Nothing here refers to another table: a row stays when the person or the thing is gone, and
    says by itself who it was and what it was called then.
    """

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor_id: Mapped[str | None] = mapped_column(String(16))
    """Who did it; None for the command line and for someone who is not known."""
    actor_name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
    """Where the request came from; empty for what was done on the machine itself."""
    action: Mapped[str] = mapped_column(String(40))
    object_kind: Mapped[str] = mapped_column(String(20))
    object_id: Mapped[str] = mapped_column(String(40))
    object_name: Mapped[str] = mapped_column(String(400))
    details: Mapped[JsonObject]
