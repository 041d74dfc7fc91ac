"""Versions of a project's model: the adapters that succeeded runs left behind."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base


class Adapter(Base):
    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("project_id", "version_number"),)

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    """The run that made it names it; its files are runs/<run id>/adapter."""
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    version_number: Mapped[int]
    base_model_id: Mapped[str] = mapped_column(ForeignKey("base_models.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of adapter_model.safetensors."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)
