"""Examples, and the uploads they came from."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

# Foreign keys below name their tables, which a worker may not have seen otherwise.
import app.accounts.tables
import app.projects.tables  # noqa: F401
from app.clock import now
from app.database.base import Base, JsonColumn, JsonObject
from app.datasets.shapes import Shape
from app.ids import new_id
from app.leases.tables import LeaseMixin


class ImportStatus(StrEnum):
    UPLOADED = "uploaded"
    """The file lies there; nobody has looked into it yet."""
    INSPECTING = "inspecting"
    AWAITING_MAPPING = "awaiting_mapping"
    """Columns were proposed; the maker looks at them."""
    CONFIRMED = "confirmed"
    """The maker agreed; waits for a worker."""
    IMPORTING = "importing"
    IMPORTED = "imported"
    FAILED = "failed"


class Import(LeaseMixin, Base):
    """One uploaded or pasted collection on its way to becoming examples."""

    __tablename__ = "imports"
    __table_args__ = (Index("ix_imports_status_lease", "status", "lease_expires_at"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    created_by_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    status: Mapped[ImportStatus] = mapped_column(String(20), default=ImportStatus.UPLOADED)
    file_name: Mapped[str] = mapped_column(String(300))
    """The name the person gave it; shown, never used as a path."""
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    understood: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """What Tailor understood: format, encoding, delimiter, columns, preview rows, proposal.

    Until it is read anew, also the encoding that the maker chose.
    """
    mapping: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """What each column is for, as the maker confirmed it."""
    report: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """Counts and the rows left out, with reasons."""
    progress_rows: Mapped[int] = mapped_column(default=0)
    problem: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """what, why, next_step of a failure."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class Example(Base):
    __tablename__ = "examples"
    __table_args__ = (
        Index("ix_examples_project_id_id", "project_id", "id"),
        Index("ix_examples_project_content", "project_id", "content_hash", unique=True),
        Index("ix_examples_project_shape", "project_id", "shape"),
        Index("ix_examples_import_id", "import_id"),
        # Ids are never given out twice, so a deleted example's id never names another.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    import_id: Mapped[str | None] = mapped_column(ForeignKey("imports.id", ondelete="SET NULL"))
    row_number: Mapped[int | None]
    """The row of the uploaded file it came from, counted as a spreadsheet counts."""
    shape: Mapped[Shape] = mapped_column(
        String(20), default=Shape.ANSWER, server_default=Shape.ANSWER
    )
    """What it is made of: an answer, a passage, two answers, a thumb, a kind."""
    instructions: Mapped[str] = mapped_column(Text, default="")
    """The system message; empty if there is none."""
    earlier_turns: Mapped[list[JsonObject] | None] = mapped_column(JsonColumn)
    """Messages before the last question, for conversations; None for a single question."""
    question: Mapped[str] = mapped_column(Text, default="")
    """Empty for a passage of plain text, which is learned as a whole."""
    answer: Mapped[str] = mapped_column(Text)
    """Of two answers the one that people prefer; of a labelled text the name of its kind."""
    rejected: Mapped[str] = mapped_column(Text, default="", server_default="")
    """The answer that people like less; empty unless there are two."""
    is_liked: Mapped[bool | None]
    """The thumb that somebody gave the answer; None if nobody did."""
    content_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 over all texts; an exact copy has the same."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
