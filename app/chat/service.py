"""What can be done in a conversation.

A conversation belongs to one person in one project. Each question goes to two models, the version
and the base model that it was trained on; each of them sees its own earlier answers only, so that
both are judged by what they would have said alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from app.chat import repository
from app.chat.asked_models import Models, models_for, models_of
from app.chat.engine import Message, Question
from app.chat.errors import (
    EmptyQuestionError,
    NoModelToAskError,
    NotTheLastTurnError,
    QuestionTooLongError,
    StillAnsweringError,
    UnknownConversationError,
    UnknownVersionError,
)
from app.chat.live import LiveReplies
from app.chat.replies import ReplyKey, ReplyPlan, Side
from app.chat.tables import ChatReply, ChatTurn, Conversation
from app.chat.thoughts import split_thoughts
from app.chat.views import TurnView, turn_views
from app.clock import now
from app.database.session import after_commit
from app.runs.trained_instructions import trained_instructions
from app.storage.folders import Storage

MOST_QUESTION_CHARACTERS: Final = 20_000
MOST_INSTRUCTION_CHARACTERS: Final = 8_000
LEAST_TOKENS, MOST_TOKENS = 16, 2048
VARIETY_TEMPERATURE: Final = 0.8
_LONGEST_TITLE: Final = 80
_USABLE: Final = ("complete", "length", "stopped")


@dataclass(frozen=True)
class ChatSettings:
    """What the drawer holds."""

    instructions: str = ""
    temperature: float = 0.0
    max_tokens: int = 256

    def within_bounds(self) -> "ChatSettings":
        return ChatSettings(
            self.instructions.strip()[:MOST_INSTRUCTION_CHARACTERS],
            min(2.0, max(0.0, self.temperature)),
            min(MOST_TOKENS, max(LEAST_TOKENS, self.max_tokens)),
        )


@dataclass(frozen=True)
class AskingAgain:
    """How the last question is asked once more.

    Attributes:
        side: who is asked; None: everyone.
        with_variety: let this one answer differ, whatever the conversation's settings say.
    """

    side: Side | None = None
    with_variety: bool = False


def own_conversation(
    session: Session, project_id: str, user_id: str, conversation_id: str
) -> Conversation:
    """Return a person's conversation.

    Raises:
        UnknownConversationError: if it is not there, or somebody else's.
    """
    conversation = repository.conversation_of(session, project_id, user_id, conversation_id)
    if conversation is None:
        raise UnknownConversationError
    return conversation


def own_version(session: Session, project_id: str, run_id: str) -> str:
    """Return a version's id if it is this project's; empty for every other, known or not."""
    is_own = bool(run_id) and repository.version(session, project_id, run_id) is not None
    return run_id if is_own else ""


def start_conversation(
    session: Session,
    project_id: str,
    user_id: str,
    run_id: str | None,
    settings: ChatSettings,
) -> Conversation:
    """Begin a conversation with a version, or with the base model alone.

    Raises:
        UnknownVersionError: if the version is not this project's.
        NoModelToAskError: if the project has no base model that is ready.
    """
    if run_id is not None and not own_version(session, project_id, run_id):
        raise UnknownVersionError
    models = models_for(session, project_id, run_id)
    if models is None:
        raise NoModelToAskError
    settings = settings.within_bounds()
    conversation = Conversation(
        project_id=project_id,
        user_id=user_id,
        adapter_run_id=run_id,
        base_model_id=models.base.id,
        instructions=settings.instructions,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    repository.add(session, conversation)
    return conversation


def change_settings(session: Session, conversation: Conversation, settings: ChatSettings) -> None:
    settings = settings.within_bounds()
    conversation.instructions = settings.instructions
    conversation.temperature = settings.temperature
    conversation.max_tokens = settings.max_tokens
    session.flush()


def usual_settings(
    session: Session, storage: Storage, project_id: str, user_id: str, run_id: str | None
) -> ChatSettings:
    """Return what a new conversation begins with: what the person set last, or what fits.

    A version that was trained with one and the same instruction in all of its examples expects
    that instruction in the chat too.
    """
    # The run's folder knows no projects, so whose it is has to be known before it is opened.
    version = own_version(session, project_id, run_id or "")
    trained = trained_instructions(storage, version) if version else ""
    trained = trained[:MOST_INSTRUCTION_CHARACTERS]
    earlier = repository.conversations_of(session, project_id, user_id)
    if not earlier:
        return ChatSettings(instructions=trained)
    last = earlier[0]
    instructions = last.instructions if last.adapter_run_id == run_id else trained
    return ChatSettings(instructions, last.temperature, last.max_tokens)


def ask(
    session: Session,
    storage: Storage,
    live: LiveReplies,
    conversation: Conversation,
    question: str,
) -> ChatTurn:
    """Add a question; its answers are asked for once this is committed.

    Raises:
        DomainError: one of this concept's, if it cannot be asked now. Nothing is changed then.
    """
    text = question.replace("\r\n", "\n").strip()
    if not text:
        raise EmptyQuestionError
    if len(text) > MOST_QUESTION_CHARACTERS:
        raise QuestionTooLongError(MOST_QUESTION_CHARACTERS)
    repository.lock_conversation(session, conversation.id)
    models = _ready_models(session, live, conversation)
    turn = ChatTurn(
        conversation_id=conversation.id,
        position=repository.next_position(session, conversation.id),
        question=text,
    )
    repository.add(session, turn)
    conversation.updated_at = now()
    conversation.title = conversation.title or _title(text)
    session.flush()
    plans = [_plan(session, storage, conversation, models, turn, side) for side in models.labels()]
    _start_after_commit(session, live, plans)
    return turn


def ask_again(
    session: Session,
    storage: Storage,
    live: LiveReplies,
    conversation: Conversation,
    turn_id: str,
    again: AskingAgain,
) -> ChatTurn:
    """Ask the last question once more; the earlier answers are kept.

    Raises:
        DomainError: one of this concept's, if it cannot be asked now.
    """
    repository.lock_conversation(session, conversation.id)
    turns = repository.turns_of(session, conversation.id)
    turn = next((turn for turn in turns if turn.id == turn_id), None)
    if turn is None:
        raise UnknownConversationError
    if turn is not turns[-1]:
        raise NotTheLastTurnError
    models = _ready_models(session, live, conversation)
    sides = [side for side in models.labels() if again.side in {None, side}]
    plans = [_plan(session, storage, conversation, models, turn, side) for side in sides]
    if again.with_variety:
        temperature = max(conversation.temperature, VARIETY_TEMPERATURE)
        plans = [
            replace(plan, question=replace(plan.question, temperature=temperature))
            for plan in plans
        ]
    _start_after_commit(session, live, plans)
    return turn


def stop(live: LiveReplies, conversation: Conversation) -> None:
    """Let running answers end where they are; what is written stays."""
    for reply in live.running_of(conversation.id):
        reply.stop()


def delete_conversation(session: Session, live: LiveReplies, conversation: Conversation) -> None:
    stop(live, conversation)
    session.expunge(conversation)
    repository.delete_conversation(session, conversation.id)


def turns(
    session: Session, live: LiveReplies, conversation: Conversation, models: Models | None
) -> list[TurnView]:
    """Return the conversation as it stands, running answers included."""
    # These are looked at first: one that ends meanwhile is then found as a row.
    in_sight = live.in_sight_of(conversation.id)
    return turn_views(
        repository.turns_of(session, conversation.id),
        repository.replies_of(session, conversation.id),
        in_sight,
        models.labels() if models else {},
    )


def _ready_models(session: Session, live: LiveReplies, conversation: Conversation) -> Models:
    if live.running_of(conversation.id):
        raise StillAnsweringError
    models = models_of(session, conversation)
    if models is None:
        raise NoModelToAskError
    live.require_room(len(models.labels()))
    return models


def _plan(
    session: Session,
    storage: Storage,
    conversation: Conversation,
    models: Models,
    turn: ChatTurn,
    side: Side,
) -> ReplyPlan:
    replies = [r for r in repository.replies_of(session, conversation.id) if r.side == side]
    attempts = [reply.attempt for reply in replies if reply.turn_id == turn.id]
    adapter = models.adapter if side == "tuned" else None
    version = f"{models.version_name} on " if adapter else ""
    return ReplyPlan(
        key=ReplyKey(turn.id, side),
        conversation_id=conversation.id,
        attempt=max(attempts, default=0) + 1,
        question=Question(
            model=models.labels()[side].model,
            messages=_history(session, conversation, turn, replies),
            temperature=conversation.temperature,
            max_tokens=conversation.max_tokens,
            adapter_folder=storage.path("runs", adapter.run_id, "adapter") if adapter else None,
        ),
        model_name=version + models.base.name,
    )


def _history(
    session: Session, conversation: Conversation, turn: ChatTurn, replies: Sequence[ChatReply]
) -> list[Message]:
    """Return what one side is told: the instructions, its own turns so far, and the question."""
    # An attempt that failed takes nothing back: what was answered before it is still remembered.
    answers = {reply.turn_id: answer for reply in replies if (answer := _usable_answer(reply))}
    messages: list[Message] = []
    if conversation.instructions:
        messages.append({"role": "system", "content": conversation.instructions})
    for earlier in repository.turns_of(session, conversation.id):
        if earlier.position >= turn.position:
            break
        # A question that was never answered would stand there twice in a row with the next one.
        if earlier.id in answers:
            messages.append({"role": "user", "content": earlier.question})
            messages.append({"role": "assistant", "content": answers[earlier.id]})
    messages.append({"role": "user", "content": turn.question})
    return messages


def _usable_answer(reply: ChatReply) -> str:
    """Return what a model may be reminded of; empty if this attempt gave nothing."""
    return split_thoughts(reply.text).answer if reply.status in _USABLE else ""


def _start_after_commit(session: Session, live: LiveReplies, plans: list[ReplyPlan]) -> None:
    replies = live.expect(plans)
    # The threads write rows that refer to the turn, so the turn has to be there for all to see.
    after_commit(session, lambda: live.start(replies), otherwise=lambda: live.give_up(replies))


def _title(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= _LONGEST_TITLE else line[: _LONGEST_TITLE - 1].rstrip() + "…"
