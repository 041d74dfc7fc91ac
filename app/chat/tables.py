"""Conversations with a version of a project's model, beside its base model."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import now
from app.database.base import Base, JsonColumn, JsonObject
from app.ids import new_id


class Conversation(Base):
    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_project_user", "project_id", "user_id"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    adapter_run_id: Mapped[str | None] = mapped_column(
        ForeignKey("adapters.run_id", ondelete="SET NULL")
    )
    """The version asked; None: the base model alone."""
    base_model_id: Mapped[str | None] = mapped_column(String(40))
    """The base model asked: the project may choose another one later. It may be gone by now."""
    title: Mapped[str] = mapped_column(String(200), default="")
    instructions: Mapped[str] = mapped_column(Text, default="")
    temperature: Mapped[float] = mapped_column(default=0.0)
    max_tokens: Mapped[int] = mapped_column(default=256)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class ChatTurn(Base):
    """One question of the person."""

    __tablename__ = "chat_turns"
    __table_args__ = (Index("ix_chat_turns_conversation", "conversation_id", "position"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    position: Mapped[int]
    question: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ChatReply(Base):
    """One answer to a turn, stamped with what really gave it."""

    __tablename__ = "chat_replies"
    __table_args__ = (Index("ix_chat_replies_turn", "turn_id", "side", "attempt"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=new_id)
    turn_id: Mapped[str] = mapped_column(ForeignKey("chat_turns.id", ondelete="CASCADE"))
    side: Mapped[str] = mapped_column(String(10))
    """tuned or base."""
    attempt: Mapped[int] = mapped_column(default=1)
    """Raised by each “ask again”; the newest is shown."""
    text: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(12))
    """complete, length, stopped or failed; cut, if Tailor was stopped meanwhile; writing, while the
    answer comes, and for good if Tailor was killed meanwhile."""
    model_name: Mapped[str] = mapped_column(String(200), default="")
    """What people call the model that was asked."""
    served_model: Mapped[str] = mapped_column(String(200), default="")
    """Which model answered, as the chat server named it; empty if it did not say."""
    base_fingerprint: Mapped[str] = mapped_column(String(64), default="")
    adapter_sha256: Mapped[str | None] = mapped_column(String(64))
    seconds: Mapped[float | None]
    """From the question to the end of the answer."""
    turns_left_out: Mapped[int] = mapped_column(default=0)
    """Oldest turns that the model did not see because the conversation was too long for it."""
    problem: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    """what, why, next_step of a failure."""
    kinds: Mapped[list[JsonObject] | None] = mapped_column(JsonColumn)
    """Of a text that was sorted: kind and score of the likeliest kinds, the surest first."""
    created_at: Mapped[datetime] = mapped_column(default=now)
