"""Base models that Tailor knows, and the hub's token."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base, JsonColumn, JsonObject
from app.ids import new_id
from app.leases.tables import LeaseMixin


class BaseModelStatus(StrEnum):
    WAITING = "waiting"
    """Asked for; a worker has not begun yet."""
    DOWNLOADING = "downloading"
    FETCHED = "fetched"
    """All files lie there (or the folder is registered); waits for its check."""
    CHECKING = "checking"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BaseModel(LeaseMixin, Base):
    __tablename__ = "base_models"
    __table_args__ = (Index("ix_base_models_status_lease", "status", "lease_expires_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=new_id)
    """“starter” for the built-in one."""
    source: Mapped[str] = mapped_column(String(10))
    """builtin, hub or folder."""
    name: Mapped[str] = mapped_column(String(200))
    shelf_slug: Mapped[str | None] = mapped_column(String(80))
    hub_id: Mapped[str | None] = mapped_column(String(200))
    revision: Mapped[str | None] = mapped_column(String(80))
    """The hub's commit; for folders None."""
    folder: Mapped[str | None] = mapped_column(Text)
    """Absolute path of the files on the machine that trains."""
    status: Mapped[BaseModelStatus] = mapped_column(String(20), default=BaseModelStatus.WAITING)
    facts: Mapped[JsonObject] = mapped_column(JsonColumn, default=dict)
    """licence, languages, parameters, context_length, summary, memory needs, config shapes."""
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 over the sums of all files; says that nothing was swapped underneath a run."""
    total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    downloaded_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    cancel_requested_at: Mapped[datetime | None]
    problem: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """what, why, next_step, details of a failure."""
    first_words: Mapped[str | None] = mapped_column(Text)
    """What it said when it was checked."""
    created_by_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class StoredSecret(Base):
    """A secret such as the hub's token, encrypted with the host's key."""

    __tablename__ = "stored_secrets"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    ciphertext: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
