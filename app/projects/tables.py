"""Projects and who may see them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base
from app.ids import new_id


class Role(StrEnum):
    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200))
    goal: Mapped[str] = mapped_column(Text, default="")
    sample_slug: Mapped[str | None] = mapped_column(String(50))
    """Which sample project it was made from, if any."""
    base_model_id: Mapped[str | None] = mapped_column(String(40))
    """The base model chosen for the next training; None until one is chosen."""
    version_count: Mapped[int] = mapped_column(default=0)
    """How many version numbers were given out; v1 is the first run."""
    deleted_at: Mapped[datetime | None]
    """When it was taken out of everybody's sight; its rows and files follow."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class ProjectMember(Base):
    """A person's role in a project. Every project has exactly one owner row at least."""

    __tablename__ = "project_members"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role] = mapped_column(String(10))
    added_at: Mapped[datetime] = mapped_column(default=now)
