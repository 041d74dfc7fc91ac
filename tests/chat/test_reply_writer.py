"""A finished answer is kept, whatever the database does at that moment."""

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.chat import repository
from app.chat.replies import Snapshot
from app.chat.reply_writer import ReplyWriter
from app.database.session import new_session, transaction
from tests.support.chat import conversation_with_one_question, plan_of_an_answer


def test_a_moment_without_a_free_connection_loses_no_answer(engine: Engine) -> None:
    conversation_id, turn_id = conversation_with_one_question(engine)
    refusals = [PoolTimeoutError("no connection is free")]

    def sometimes() -> Session:
        if refusals:
            raise refusals.pop()
        return new_session(engine)

    plan = plan_of_an_answer(conversation_id, turn_id)
    ReplyWriter(sometimes, plan).finish(Snapshot(state="done", text="Hello.", status="complete"))
    with transaction(engine, read_only=True) as session:
        kept = [(r.text, r.status) for r in repository.replies_of(session, conversation_id)]
    assert kept == [("Hello.", "complete")]
