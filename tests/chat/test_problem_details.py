"""What a chat server said of its inside is for the person who looks after it."""

from app.chat.tables import ChatReply, ChatTurn, Conversation
from app.projects.service import create_project
from tests.support.web import ADMIN, OWNER, Web

TRACE = 'Traceback (most recent call last): File "/srv/engine/model.py", line 7'
PROBLEM = {
    "what": "The answer did not come.",
    "why": "The chat server could not give one.",
    "next_step": "Ask again.",
    "details": TRACE,
}


def failed_answer(web: Web, email: str) -> tuple[str, str]:
    """Return the addresses of a person's own conversation and of its question, which failed."""
    user_id = web.user(email).id
    with web.transaction() as session:
        project = create_project(session, user_id, "My own")
        project.base_model_id = "starter"
        conversation = Conversation(
            project_id=project.id, user_id=user_id, base_model_id="starter", title="Talk"
        )
        session.add(conversation)
        session.flush()
        turn = ChatTurn(conversation_id=conversation.id, position=1, question="Hello?")
        session.add(turn)
        session.flush()
        session.add(ChatReply(turn_id=turn.id, side="base", status="failed", problem=PROBLEM))
        url = f"/projects/{project.id}/chat/{conversation.id}"
        return url, f"{url}/turns/{turn.id}"


def test_a_maker_reads_sentences_and_no_trace(web: Web) -> None:
    for address in failed_answer(web, OWNER):
        page = web.client_for(OWNER).page(address)
        assert "The chat server could not give one. Ask again." in page
        assert "Traceback" not in page
        assert "/srv/engine" not in page
        assert "What answered" not in page


def test_an_administrator_finds_it_under_the_answer(web: Web) -> None:
    for address in failed_answer(web, ADMIN):
        page = web.client_for(ADMIN).page(address)
        assert "/srv/engine/model.py" in page
        assert "What answered" in page
