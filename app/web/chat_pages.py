"""The pages of the chat, put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.chat import repository, service
from app.chat.asked_models import models_for, models_of
from app.chat.live import LiveReplies
from app.chat.service import ChatSettings
from app.chat.tables import Conversation
from app.chat.views import TurnView
from app.errors import DomainError
from app.journey.samples import sample_called
from app.projects.tables import Project
from app.web.templating import render

TEMPERATURES: Final = (
    ("0.0", "Always the same answer"),
    ("0.4", "A little variety"),
    ("0.8", "More variety"),
)
CONVERSATIONS_PER_PAGE: Final = 50
LENGTHS: Final = (
    ("64", "Short: about 50 words at most"),
    ("256", "Medium: about 200 words at most"),
    ("512", "Long: about 400 words at most"),
    ("1024", "Very long: about 800 words at most"),
)


@dataclass(frozen=True)
class NewPage:
    """What the page of a new conversation shows.

    Attributes:
        run_id: the project's version; empty for the base model alone.
        question: what was typed, if it could not be asked.
        number: the page of the list of conversations.
    """

    run_id: str
    settings: ChatSettings
    question: str = ""
    error: DomainError | None = None
    number: int = 1


def address(conversation: Conversation) -> str:
    return f"/projects/{conversation.project_id}/chat/{conversation.id}"


def new_page(
    request: Request,
    session: Session,
    project: Project,
    user_id: str,
    page: NewPage,
) -> HTMLResponse:
    """Render the page of a new conversation."""
    models = models_for(session, project.id, page.run_id or None)
    context = {
        "project": project,
        "models": models,
        "versions": repository.versions_of(session, project.id),
        "version": models.adapter.run_id if models and models.adapter else "",
        "settings": page.settings,
        "temperatures": TEMPERATURES,
        "lengths": LENGTHS,
        "question": page.question,
        "error": page.error,
        "suggestions": _suggestions(session, project, page.run_id),
        **_conversations(session, project, user_id, page.number),
    }
    status = page.error.status_code if page.error else 200
    return render(request, "chat/new.html", context, status_code=status)


def conversation_page(
    request: Request,
    session: Session,
    live: LiveReplies,
    project: Project,
    conversation: Conversation,
    question: str = "",
    error: DomainError | None = None,
) -> HTMLResponse:
    """Render a conversation with all that was asked and answered."""
    models = models_of(session, conversation)
    turns = service.turns(session, live, conversation, models)
    context = {
        "project": project,
        "conversation": conversation,
        "conversation_url": address(conversation),
        "models": models,
        "versions": repository.versions_of(session, project.id),
        "turns": turns,
        "is_live": any(turn.is_live for turn in turns),
        "settings": conversation,
        "temperatures": TEMPERATURES,
        "lengths": LENGTHS,
        "question": question,
        "error": error,
        "sees_details": _sees_details(request),
    }
    status = error.status_code if error else 200
    return render(request, "chat/show.html", context, status_code=status)


def turn_fragment(request: Request, conversation: Conversation, turn: TurnView) -> HTMLResponse:
    """Render one question with its answers, as it stands in the conversation's page."""
    context = {
        "turn": turn,
        "conversation_url": address(conversation),
        "settings": conversation,
        "sees_details": _sees_details(request),
    }
    return render(request, "chat/_turn.html", context)


def _sees_details(request: Request) -> bool:
    """Say whether the reader looks after this machine: a server's own words tell of its inside."""
    user: User | None = request.state.user
    return user is not None and user.is_admin


def _conversations(
    session: Session, project: Project, user_id: str, number: int
) -> dict[str, object]:
    """One page of a person's conversations, the last used first."""
    count = repository.count_conversations(session, project.id, user_id)
    pages = max(1, ceil(count / CONVERSATIONS_PER_PAGE))
    number = min(max(1, number), pages)
    conversations = repository.conversations_of(
        session,
        project.id,
        user_id,
        skip=(number - 1) * CONVERSATIONS_PER_PAGE,
        limit=CONVERSATIONS_PER_PAGE,
    )
    return {"conversations": conversations, "page": number, "pages": pages, "count": count}


def _suggestions(session: Session, project: Project, run_id: str) -> Sequence[str]:
    """Questions to begin with: held out of the training, or written for the sample project."""
    sample = sample_called(project.sample_slug)
    if sample is not None:
        return sample.questions_to_try
    return repository.held_out_questions(session, project.id, run_id) if run_id else ()
