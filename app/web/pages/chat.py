"""Try it: conversations with a version of the model, beside its base model."""

import time
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.chat import repository, service
from app.chat.asked_models import models_of
from app.chat.errors import UnknownConversationError
from app.chat.live import LiveReplies
from app.chat.replies import Side
from app.chat.service import AskingAgain, ChatSettings
from app.chat.tables import ChatTurn, Conversation
from app.errors import DomainError
from app.web.chat_pages import NewPage, address, conversation_page, new_page, turn_fragment
from app.web.chat_stream import STREAM_HEADERS, turn_events
from app.web.dependencies import (
    CurrentUser,
    DatabaseSession,
    FileStorage,
    ViewedProject,
)
from app.web.flashes import redirect
from app.web.gate import wants_page
from app.web.live_replies import live_replies_of

router = APIRouter()

Text = Annotated[str, Form()]

LONGEST_WAIT_SECONDS: Final = 20.0
"""So long a page without scripts waits for the answers before it shows what there is."""


def _live(request: Request) -> LiveReplies:
    return live_replies_of(request.app)


Live = Annotated[LiveReplies, Depends(_live)]


def _own_conversation(
    project: ViewedProject, user: CurrentUser, session: DatabaseSession, conversation_id: str
) -> Conversation:
    return service.own_conversation(session, project.id, user.id, conversation_id)


OwnConversation = Annotated[Conversation, Depends(_own_conversation)]


@dataclass(frozen=True)
class FirstQuestion:
    """What the form of a new conversation holds."""

    question: str
    version: str
    settings: ChatSettings


def _typed_settings(
    instructions: Text = "",
    temperature: Annotated[float, Form()] = 0.0,
    max_tokens: Annotated[int, Form()] = 256,
) -> ChatSettings:
    return ChatSettings(instructions, temperature, max_tokens)


TypedSettings = Annotated[ChatSettings, Depends(_typed_settings)]


def _first_question(
    settings: TypedSettings, question: Text = "", suggestion: Text = "", version: Text = ""
) -> FirstQuestion:
    # A suggestion is a button beside the field, so both come along.
    return FirstQuestion(suggestion or question, version, settings)


def _asking_again(side: Text = "", variety: Text = "") -> AskingAgain:
    chosen: dict[str, Side] = {"base": "base", "tuned": "tuned"}
    return AskingAgain(chosen.get(side), with_variety=bool(variety))


@router.get("/projects/{project_id}/chat")
def show_new_conversation(
    request: Request,
    project: ViewedProject,
    user: CurrentUser,
    session: DatabaseSession,
    storage: FileStorage,
    version: str | None = None,
    page: int = 1,
) -> Response:
    versions = repository.versions_of(session, project.id)
    newest = versions[0].run_id if versions else ""
    run_id = newest if version is None else service.own_version(session, project.id, version)
    settings = service.usual_settings(session, storage, project.id, user.id, run_id or None)
    return new_page(request, session, project, user.id, NewPage(run_id, settings, number=page))


@router.post("/projects/{project_id}/chat")
def start_conversation(
    request: Request,
    project: ViewedProject,
    user: CurrentUser,
    session: DatabaseSession,
    storage: FileStorage,
    live: Live,
    typed: Annotated[FirstQuestion, Depends(_first_question)],
) -> Response:
    try:
        conversation = service.start_conversation(
            session, project.id, user.id, typed.version or None, typed.settings
        )
        turn = service.ask(session, storage, live, conversation, typed.question)
    except DomainError as error:
        session.rollback()
        if not wants_page(request):
            raise
        run_id = service.own_version(session, project.id, typed.version)
        page = NewPage(run_id, typed.settings, typed.question, error)
        return new_page(request, session, project, user.id, page)
    return _asked(request, session, live, conversation, turn)


@router.get("/projects/{project_id}/chat/{conversation_id}")
def show_conversation(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    live: Live,
    conversation: OwnConversation,
) -> Response:
    return conversation_page(request, session, live, project, conversation)


@router.post("/projects/{project_id}/chat/{conversation_id}/turns")
def ask(
    request: Request,
    project: ViewedProject,
    session: DatabaseSession,
    storage: FileStorage,
    live: Live,
    conversation: OwnConversation,
    question: Text = "",
) -> Response:
    try:
        turn = service.ask(session, storage, live, conversation, question)
    except DomainError as error:
        session.rollback()
        if not wants_page(request):
            raise
        return conversation_page(request, session, live, project, conversation, question, error)
    return _asked(request, session, live, conversation, turn)


@router.post("/projects/{project_id}/chat/{conversation_id}/turns/{turn_id}/again")
def ask_again(
    request: Request,
    session: DatabaseSession,
    storage: FileStorage,
    live: Live,
    conversation: OwnConversation,
    turn_id: str,
    again: Annotated[AskingAgain, Depends(_asking_again)],
) -> Response:
    turn = service.ask_again(session, storage, live, conversation, turn_id, again)
    return _asked(request, session, live, conversation, turn)


@router.post("/projects/{project_id}/chat/{conversation_id}/stop")
def stop(request: Request, live: Live, conversation: OwnConversation) -> Response:
    service.stop(live, conversation)
    if not wants_page(request):
        return Response(status_code=204)
    _wait_for(live, conversation, seconds=3.0)
    return redirect(request, address(conversation))


@router.post("/projects/{project_id}/chat/{conversation_id}/settings")
def change_settings(
    request: Request,
    session: DatabaseSession,
    conversation: OwnConversation,
    settings: TypedSettings,
) -> Response:
    service.change_settings(session, conversation, settings)
    return redirect(request, address(conversation), "Saved. The next answer follows it.")


@router.post("/projects/{project_id}/chat/{conversation_id}/delete")
def delete(
    request: Request, session: DatabaseSession, live: Live, conversation: OwnConversation
) -> Response:
    back = f"/projects/{conversation.project_id}/chat"
    service.delete_conversation(session, live, conversation)
    return redirect(request, back, "The conversation is deleted.")


@router.get("/projects/{project_id}/chat/{conversation_id}/turns/{turn_id}")
def show_turn(
    request: Request,
    session: DatabaseSession,
    live: Live,
    conversation: OwnConversation,
    turn_id: str,
) -> Response:
    """One question with its answers, for the page's script to put in place."""
    models = models_of(session, conversation)
    turns = service.turns(session, live, conversation, models)
    turn = next((turn for turn in turns if turn.id == turn_id), None)
    if turn is None:
        raise UnknownConversationError
    return turn_fragment(request, conversation, turn)


@router.get("/projects/{project_id}/chat/{conversation_id}/turns/{turn_id}/stream")
def stream_turn(
    request: Request,
    session: DatabaseSession,
    live: Live,
    conversation: OwnConversation,
    turn_id: str,
    base: int = 0,
    tuned: int = 0,
) -> Response:
    """What is still being written; base and tuned: how much of each answer the page has."""
    if repository.turn_of(session, conversation.id, turn_id) is None:
        raise UnknownConversationError
    begins: dict[Side, int] = {"base": max(0, base), "tuned": max(0, tuned)}
    replies = {side: reply for side in begins if (reply := live.get(turn_id, side)) is not None}
    events = turn_events(request, conversation.project_id, replies, begins)
    return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)


def _asked(
    request: Request,
    session: DatabaseSession,
    live: LiveReplies,
    conversation: Conversation,
    turn: ChatTurn,
) -> Response:
    """Send the question off. A script follows the answers; without one, the page waits for them."""
    # This is the edge: the answers begin with the commit, and waiting must not hold the database.
    session.commit()
    url = address(conversation)
    if not wants_page(request):
        return JSONResponse({"url": url, "turn_id": turn.id, "turn_url": f"{url}/turns/{turn.id}"})
    _wait_for(live, conversation, LONGEST_WAIT_SECONDS)
    return redirect(request, f"{url}#turn-{turn.id}")


def _wait_for(live: LiveReplies, conversation: Conversation, seconds: float) -> None:
    """Wait for all answers, but not longer than this for all of them together."""
    deadline = time.monotonic() + seconds
    for reply in live.running_of(conversation.id):
        reply.wait_until_done(max(0.0, deadline - time.monotonic()))
