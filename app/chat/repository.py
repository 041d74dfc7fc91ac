"""The queries about conversations."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel
from app.chat.tables import ChatReply, ChatTurn, Conversation
from app.projects.tables import Project
from app.runs.tables import Run, RunSample


def add(session: Session, row: Conversation | ChatTurn | ChatReply) -> None:
    session.add(row)
    session.flush()


def conversation_of(
    session: Session, project_id: str, user_id: str, conversation_id: str
) -> Conversation | None:
    return session.scalars(
        select(Conversation).where(
            Conversation.id == conversation_id,
            Conversation.project_id == project_id,
            Conversation.user_id == user_id,
        )
    ).one_or_none()


def lock_conversation(session: Session, conversation_id: str) -> None:
    """Let one request at a time add to a conversation."""
    session.execute(
        select(Conversation.id).where(Conversation.id == conversation_id).with_for_update()
    )


def conversations_of(
    session: Session, project_id: str, user_id: str, *, skip: int = 0, limit: int = 1
) -> Sequence[Conversation]:
    """A person's conversations in a project, the last used first."""
    return session.scalars(
        select(Conversation)
        .where(Conversation.project_id == project_id, Conversation.user_id == user_id)
        .order_by(Conversation.updated_at.desc(), Conversation.id)
        .offset(skip)
        .limit(limit)
    ).all()


def count_conversations(session: Session, project_id: str, user_id: str) -> int:
    return (
        session.scalar(
            select(func.count())
            .select_from(Conversation)
            .where(Conversation.project_id == project_id, Conversation.user_id == user_id)
        )
        or 0
    )


def delete_conversation(session: Session, conversation_id: str) -> None:
    session.execute(delete(Conversation).where(Conversation.id == conversation_id))


def turns_of(session: Session, conversation_id: str) -> Sequence[ChatTurn]:
    return session.scalars(
        select(ChatTurn)
        .where(ChatTurn.conversation_id == conversation_id)
        .order_by(ChatTurn.position)
    ).all()


def turn_of(session: Session, conversation_id: str, turn_id: str) -> ChatTurn | None:
    return session.scalars(
        select(ChatTurn).where(ChatTurn.id == turn_id, ChatTurn.conversation_id == conversation_id)
    ).one_or_none()


def next_position(session: Session, conversation_id: str) -> int:
    highest = session.scalar(
        select(func.max(ChatTurn.position)).where(ChatTurn.conversation_id == conversation_id)
    )
    return 1 if highest is None else highest + 1


def replies_of(session: Session, conversation_id: str) -> Sequence[ChatReply]:
    """All replies of a conversation, the newest attempt of each side last."""
    return session.scalars(
        select(ChatReply)
        .join(ChatTurn, ChatTurn.id == ChatReply.turn_id)
        .where(ChatTurn.conversation_id == conversation_id)
        .order_by(ChatTurn.position, ChatReply.side, ChatReply.attempt, ChatReply.created_at)
    ).all()


def reply(session: Session, reply_id: str) -> ChatReply | None:
    return session.get(ChatReply, reply_id)


def turn_exists(session: Session, turn_id: str) -> bool:
    return session.scalar(select(ChatTurn.id).where(ChatTurn.id == turn_id)) is not None


def versions_of(session: Session, project_id: str) -> Sequence[Adapter]:
    """A project's versions, the newest first."""
    return session.scalars(
        select(Adapter)
        .where(Adapter.project_id == project_id)
        .order_by(Adapter.version_number.desc())
    ).all()


def version(session: Session, project_id: str, run_id: str) -> Adapter | None:
    return session.scalars(
        select(Adapter).where(Adapter.run_id == run_id, Adapter.project_id == project_id)
    ).one_or_none()


def run_of(session: Session, run_id: str) -> Run | None:
    return session.get(Run, run_id)


def base_model(session: Session, base_model_id: str) -> BaseModel | None:
    return session.get(BaseModel, base_model_id)


def chosen_base_model(session: Session, project_id: str) -> BaseModel | None:
    return session.scalars(
        select(BaseModel)
        .join(Project, Project.base_model_id == BaseModel.id)
        .where(Project.id == project_id)
    ).one_or_none()


def held_out_questions(session: Session, project_id: str, run_id: str) -> Sequence[str]:
    """The questions that a project's run was asked while it learned, and has not learned from."""
    return session.scalars(
        select(RunSample.question)
        .join(Run, Run.id == RunSample.run_id)
        .where(Run.id == run_id, Run.project_id == project_id)
        .group_by(RunSample.position, RunSample.question)
        .order_by(RunSample.position)
        .limit(3)
    ).all()
