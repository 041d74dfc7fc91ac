"""Answers that are being written, and the moment in which they are over."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel, BaseModelStatus
from app.chat import repository, service
from app.chat.asked_models import Models
from app.chat.engine import ChatEngine
from app.chat.errors import StillAnsweringError
from app.chat.live import LiveReplies
from app.chat.tables import Conversation
from app.chat.views import TurnView
from app.database.session import new_session
from app.storage.folders import Storage
from tests.support.chat import conversation_with_one_question, plan_of_an_answer
from tests.support.inference import TOKEN
from tests.support.serving import free_port


def test_an_answer_that_ends_while_a_page_is_made_is_not_taken_for_cut_off(engine: Engine) -> None:
    conversation_id, turn_id = conversation_with_one_question(engine)
    nobody = ChatEngine(f"http://127.0.0.1:{free_port()}", lambda: TOKEN)
    live = LiveReplies(nobody, lambda: new_session(engine))
    with new_session(engine, read_only=True) as session:
        # From its first look on, this reader may see the database as it was then.
        conversation = session.get_one(Conversation, conversation_id)
        live.start(live.expect([plan_of_an_answer(conversation_id, turn_id)]))
        for reply in live.in_sight_of(conversation_id):
            assert reply.wait_until_done(30)
        assert _turn(session, live, conversation).replies[0].state in {"writing", "failed"}
    assert live.running_of(conversation_id) == []
    with new_session(engine, read_only=True) as session:
        conversation = session.get_one(Conversation, conversation_id)
        assert len(repository.replies_of(session, conversation_id)) == 1
        assert _turn(session, live, conversation).replies[0].state == "failed"


def test_an_answer_is_expected_as_soon_as_anybody_could_see_its_question(
    engine: Engine, storage: Storage
) -> None:
    conversation_id, _ = conversation_with_one_question(engine)
    nobody = ChatEngine(f"http://127.0.0.1:{free_port()}", lambda: TOKEN)
    live = LiveReplies(nobody, lambda: new_session(engine))
    with new_session(engine) as session:
        session.add(BaseModel(id="it", source="folder", name="It", status=BaseModelStatus.READY))
        conversation = session.get_one(Conversation, conversation_id)
        conversation.base_model_id = "it"
        session.commit()
        service.ask(session, storage, live, conversation, "And now?")
        # Nobody else can see the question yet; its answer is known of already.
        assert [reply.snapshot().state for reply in live.running_of(conversation_id)] == ["waiting"]
        with pytest.raises(StillAnsweringError):
            service.ask(session, storage, live, conversation, "And then?")
        session.rollback()
    assert live.running_of(conversation_id) == []


def _turn(session: Session, live: LiveReplies, conversation: Conversation) -> TurnView:
    models = Models(BaseModel(id="starter", name="Tailor Starter"), adapter=None)
    [turn] = service.turns(session, live, conversation, models)
    return turn
