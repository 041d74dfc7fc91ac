"""Answers that are being written right now.

The web process itself holds the stream from the chat server, independent of any browser: a page
that is reloaded, opened twice or gone costs nothing, and every page reads from the same buffer.
The row is written when the answer ends. If the web process ends first, no row is written, and the
page says that the answer was cut off.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Condition, Lock, Thread
from typing import Final, Literal

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.chat import repository
from app.chat.engine import ChatEngine, Ending, Loading, Piece, Question, Stamp
from app.chat.errors import TooManyAnswersError
from app.chat.tables import ChatReply
from app.errors import DomainError

logger = logging.getLogger(__name__)

Side = Literal["tuned", "base"]
LiveState = Literal["waiting", "loading", "writing", "done"]

MOST_LIVE_REPLIES: Final = 48
_SAVING_ATTEMPTS: Final = 60
_SAVING_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class ReplyKey:
    turn_id: str
    side: Side


@dataclass(frozen=True)
class ReplyPlan:
    """An answer to be asked for.

    Attributes:
        model_name: what people call the model, for the stamp.
    """

    key: ReplyKey
    conversation_id: str
    attempt: int
    question: Question
    model_name: str


@dataclass(frozen=True)
class Snapshot:
    """What is known of an answer at one moment."""

    state: LiveState = "waiting"
    text: str = ""
    status: str = ""
    """complete, length, stopped or failed; empty until it is done."""
    stamp: Stamp | None = None
    problem: dict[str, str] | None = None
    seconds: float = 0.0


class LiveReply:
    """One answer's buffer. A thread fills it; any number of pages read it."""

    def __init__(self, plan: ReplyPlan) -> None:
        self.plan = plan
        self._changed = Condition()
        self._snapshot = Snapshot()
        self._listeners: set[Callable[[], None]] = set()
        self._started = time.monotonic()
        self.stop_asked = False

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every change, from another thread; returns what ends it."""
        with self._changed:
            self._listeners.add(listener)

        def end() -> None:
            with self._changed:
                self._listeners.discard(listener)

        return end

    def stop(self) -> None:
        """Keep what is there and end."""
        self.stop_asked = True

    def wait_until_done(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._snapshot.state == "done", timeout)

    def update(self, **changes: object) -> None:
        with self._changed:
            seconds = time.monotonic() - self._started
            self._snapshot = replace(self._snapshot, seconds=seconds, **changes)  # type: ignore[arg-type]
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener()


class LiveReplies:
    """All answers that this process is waiting for."""

    def __init__(self, engine: ChatEngine, new_session: Callable[[], Session]) -> None:
        self._engine = engine
        self._new_session = new_session
        self._lock = Lock()
        self._replies: dict[ReplyKey, LiveReply] = {}

    def get(self, turn_id: str, side: Side) -> LiveReply | None:
        with self._lock:
            return self._replies.get(ReplyKey(turn_id, side))

    def of_conversation(self, conversation_id: str) -> list[LiveReply]:
        with self._lock:
            return [
                reply
                for reply in self._replies.values()
                if reply.plan.conversation_id == conversation_id
            ]

    def require_room(self, wanted: int) -> None:
        """Raise TooManyAnswersError if so many more answers would be too many."""
        with self._lock:
            if len(self._replies) + wanted > MOST_LIVE_REPLIES:
                raise TooManyAnswersError

    def start(self, plans: list[ReplyPlan]) -> None:
        """Ask for answers. Their turns have to be committed already."""
        for plan in plans:
            reply = LiveReply(plan)
            with self._lock:
                self._replies[plan.key] = reply
            Thread(
                target=self._follow, args=(reply,), name=f"reply-{plan.key.turn_id}", daemon=True
            ).start()

    def _follow(self, reply: LiveReply) -> None:
        """The task of one answer, from the question to the row."""
        try:
            end = self._listen_to_engine(reply)
        except DomainError as error:
            end = _failed(error)
        except Exception:
            # The boundary of a thread: whatever happened, the page must hear of it.
            logger.exception("an answer failed")
            end = {"status": "failed", "problem": _unforeseen()}
        try:
            self._save(reply, replace(reply.snapshot(), **end))  # type: ignore[arg-type]
        finally:
            reply.update(state="done", **end)
            with self._lock:
                if self._replies.get(reply.plan.key) is reply:
                    del self._replies[reply.plan.key]

    def _listen_to_engine(self, reply: LiveReply) -> dict[str, object]:
        """Fill the buffer; return how it ended."""
        text = ""
        with closing(self._engine.ask(reply.plan.question)) as events:
            for event in events:
                if reply.stop_asked:
                    return {"status": "stopped"}
                if isinstance(event, Loading):
                    reply.update(state="loading")
                elif isinstance(event, Piece):
                    text += event.text
                    reply.update(state="writing", text=text, stamp=event.stamp)
                elif isinstance(event, Ending):
                    reply.update(stamp=event.stamp)
                    return {"status": "length" if event.reason == "length" else "complete"}
        return {"status": "stopped"}

    def _save(self, reply: LiveReply, final: Snapshot) -> None:
        """Write the row; a database that is away for a while is waited for."""
        for attempt in range(1, _SAVING_ATTEMPTS + 1):
            try:
                with self._new_session() as session, session.begin():
                    # The conversation may have been deleted meanwhile; then nobody misses it.
                    if repository.turn_exists(session, reply.plan.key.turn_id):
                        repository.add(session, _row(reply.plan, final))
            except DBAPIError as error:
                logger.warning("an answer waits for the database (%d): %s", attempt, error)
                time.sleep(_SAVING_PAUSE_SECONDS)
            else:
                return
        logger.error("an answer could not be kept: the database stayed away")


def _row(plan: ReplyPlan, final: Snapshot) -> ChatReply:
    stamp = final.stamp or Stamp(model="")
    return ChatReply(
        turn_id=plan.key.turn_id,
        side=plan.key.side,
        attempt=plan.attempt,
        text=final.text,
        status=final.status,
        model_name=plan.model_name,
        base_fingerprint=stamp.base_fingerprint,
        adapter_sha256=stamp.adapter_sha256,
        turns_left_out=stamp.turns_left_out,
        seconds=final.seconds,
        problem=final.problem,
    )


def _failed(error: DomainError) -> dict[str, object]:
    problem = {"what": error.what, "why": error.why, "next_step": error.next_step}
    if details := getattr(error, "details", ""):
        problem["details"] = details
    return {"status": "failed", "problem": problem}


def _unforeseen() -> dict[str, str]:
    return {
        "what": "The answer did not come.",
        "why": "Something went wrong inside Tailor; the log has the details.",
        "next_step": "Ask again.",
    }
