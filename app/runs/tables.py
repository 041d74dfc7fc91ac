"""Training runs: what was asked for, who does it, how it goes."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base, JsonColumn, JsonObject
from app.ids import new_id
from app.leases.tables import LeaseMixin
from app.runs.method_spec import Quantization
from app.runs.status import RunStatus
from app.workers.device import DeviceKind


class Run(LeaseMixin, Base):
    __tablename__ = "runs"
    __table_args__ = (
        # The queue's order: a claim reads the first row of it (app/runs/queue/repository.py). No
        # index holds the lease: every sign of life would have to be written into all indexes.
        Index("ix_runs_queue", "status", "turn", "created_at", "id"),
        # A person's own runs, in work or waiting.
        Index("ix_runs_person_status", "requested_by_id", "status"),
        UniqueConstraint("project_id", "version_number"),
        # What a run writes each second finds room beside the row that it replaces.
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    version_number: Mapped[int]
    """The run makes version v<number> of the project's model."""
    base_model_id: Mapped[str] = mapped_column(ForeignKey("base_models.id"), index=True)
    requested_by_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    status: Mapped[RunStatus] = mapped_column(String(20), default=RunStatus.QUEUED)
    recipe: Mapped[JsonObject] = mapped_column(JsonColumn)
    """The frozen app.runs.recipe.Recipe, the same as recipe.json in the run's folder."""
    snapshot_sha256: Mapped[str] = mapped_column(String(64))
    train_count: Mapped[int]
    validation_count: Mapped[int]

    phase: Mapped[str] = mapped_column(String(40), default="waiting")
    phase_message: Mapped[str] = mapped_column(Text, default="")
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    epoch: Mapped[float] = mapped_column(default=0.0)
    tokens_per_second: Mapped[float | None]
    seconds_left: Mapped[float | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    plan: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """The child's plan event: steps, tokens, examples cut and left out."""
    memory_note: Mapped[str] = mapped_column(Text, default="")
    """What was done because memory ran short, in a sentence; empty if it never did."""
    phase_share: Mapped[float | None]
    """How much of the reading of the examples is done, from 0 to 1; None outside of it."""
    expected_seconds: Mapped[float | None]
    """How long it was thought to take when it was queued."""
    promise: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """What was foretold when it was queued: app.runs.outlook.Outlook.as_promise()."""
    turn: Mapped[float] = mapped_column(default=0.0)
    """Whose turn it is: the lowest goes first. Seconds of device time; see queue/turns.py."""
    needs_kind: Mapped[DeviceKind | None] = mapped_column(String(10))
    """The only kind of device that can train it; None if any can."""
    needs_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Of how much device memory even its smallest form has need; None if nobody knows."""
    needs_devices: Mapped[int] = mapped_column(default=1, server_default="1")
    """On how many devices of one machine at least: more than one if it fits on none alone."""
    needs_bits: Mapped[Quantization | None] = mapped_column(String(10))
    """The form of few bits in which a device must be able to hold its base model, if any."""
    device: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """On what it is trained, or was last: host, kind, host_devices, id, name, memory_bytes,
    few_bits.

    Where it is trained on several devices of the host: also further, each with id, name,
    memory_bytes.
    """

    cancel_requested_at: Mapped[datetime | None]
    pause_requested_at: Mapped[datetime | None]
    """Someone wants it to rest; whoever holds it saves and gives it back as paused."""
    finish_requested_at: Mapped[datetime | None]
    """Someone wants it to learn no more and to keep its best; whoever holds it sees to it."""
    failure: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """code, reason, next_step, details, permanent."""
    result: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """The child's result event."""
    event_count: Mapped[int] = mapped_column(default=0)
    """The sequence number of the newest event; raised in the transaction that adds the event."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def learned_count(self) -> int:
        """How many examples it learns from: without those left out, once these are known."""
        plan = self.plan or {}
        of_held_out = int(plan.get("held_out_left_out", 0))
        return self.train_count - (int(plan.get("examples_left_out", 0)) - of_held_out)

    @property
    def measured_count(self) -> int:
        """How many held-out examples it is measured by, in the same way."""
        return self.validation_count - int((self.plan or {}).get("held_out_left_out", 0))


class RunEvent(Base):
    """What happened, in order; the page's stream replays from here.

    Sequence numbers are given out under the run row's lock, so they have no gaps and become
    visible in order on both databases.
    """

    __tablename__ = "run_events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))
    payload: Mapped[JsonObject] = mapped_column(JsonColumn)
    at: Mapped[datetime] = mapped_column(default=now)


class RunMetric(Base):
    """One number at one step. A resumed run overwrites instead of doubling."""

    __tablename__ = "run_metrics"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)


class RunSample(Base):
    """A held-out question, answered afresh at a step, beside what was expected."""

    __tablename__ = "run_samples"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    question: Mapped[str] = mapped_column(Text)
    expected: Mapped[str] = mapped_column(Text)
    base_answer: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)


class RunCheckpoint(Base):
    """A checkpoint that was published under a fence."""

    __tablename__ = "run_checkpoints"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    fence: Mapped[int] = mapped_column(Integer)
    folder: Mapped[str] = mapped_column(String(100))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    is_best: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
