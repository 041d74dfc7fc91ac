"""Workers that say that they are there."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class Worker(Base):
    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Host and process, and the queue, such as trainer:4711/runs."""
    queue: Mapped[str] = mapped_column(String(20), index=True)
    seen_at: Mapped[float]
    """Seconds since 1970 on the database's clock."""
