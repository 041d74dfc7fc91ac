"""A finished answer is kept, whatever the database does at that moment."""

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.chat import repository
from app.chat.engine import Question
from app.chat.replies import ReplyKey, ReplyPlan, Snapshot
from app.chat.reply_writer import ReplyWriter
from app.chat.tables import ChatTurn, Conversation
from app.database.session import new_session, transaction
from app.projects.tables import Project


def _conversation_with_one_question(engine: Engine) -> tuple[str, str]:
    with transaction(engine) as session:
        project = Project(name="A project")
        user = User(email="a@example.org", name="A", password_hash="-")
        session.add_all([project, user])
        session.flush()
        conversation = Conversation(project_id=project.id, user_id=user.id)
        session.add(conversation)
        session.flush()
        turn = ChatTurn(conversation_id=conversation.id, position=1, question="Hello?")
        session.add(turn)
        session.flush()
        return conversation.id, turn.id


def test_a_moment_without_a_free_connection_loses_no_answer(engine: Engine) -> None:
    conversation_id, turn_id = _conversation_with_one_question(engine)
    refusals = [PoolTimeoutError("no connection is free")]

    def sometimes() -> Session:
        if refusals:
            raise refusals.pop()
        return new_session(engine)

    plan = ReplyPlan(
        key=ReplyKey(turn_id, "base"),
        conversation_id=conversation_id,
        attempt=1,
        question=Question(model="starter", messages=[], temperature=0.0, max_tokens=16),
        model_name="Tailor Starter",
    )
    ReplyWriter(sometimes, plan).finish(Snapshot(state="done", text="Hello.", status="complete"))
    with transaction(engine, read_only=True) as session:
        kept = [(r.text, r.status) for r in repository.replies_of(session, conversation_id)]
    assert kept == [("Hello.", "complete")]
