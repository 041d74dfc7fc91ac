"""Answers that are being written right now.

The web process itself holds the stream from the chat server, independent of any browser: a page
that is reloaded, opened twice or gone costs nothing, and every page reads from the same buffer.
What is there is written to the answer's row every few seconds, so that not even a killed process
takes it away; the page then says that the answer was cut off.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from threading import Condition, Lock, Thread
from typing import Final

from sqlalchemy.orm import Session

from app.chat.cancellation import Cancellation
from app.chat.engine import ChatEngine, Ending, Piece, Waiting
from app.chat.errors import BrokenOffError, TooManyAnswersError
from app.chat.replies import ReplyKey, ReplyPlan, Side, Snapshot
from app.chat.reply_writer import ReplyWriter
from app.errors import DomainError

logger = logging.getLogger(__name__)

MOST_LIVE_REPLIES: Final = 48

SECONDS_IN_SIGHT: Final = 10.0
"""So long an answer that is over stays beside the running ones, for pages being made right now.

What such a page reads of the database may be as old as its first look there, and the answer's row
younger. Without this, the page would take an answer that has just ended for one that was cut off.
"""


class LiveReply:
    """One answer's buffer. A thread fills it; any number of pages read it."""

    def __init__(self, plan: ReplyPlan) -> None:
        self.plan = plan
        self._changed = Condition()
        self._snapshot = Snapshot()
        self._listeners: set[Callable[[], None]] = set()
        self._started = time.monotonic()
        self._last_change = self._started
        self.cancellation = Cancellation()

    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def is_over(self) -> bool:
        return self._snapshot.state == "done"

    @property
    def is_in_sight(self) -> bool:
        """Whether it runs, or ended so lately that its row may be missing from a page's reading."""
        return not self.is_over or time.monotonic() - self._last_change < SECONDS_IN_SIGHT

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every change, from another thread; returns what ends it."""
        with self._changed:
            self._listeners.add(listener)

        def end() -> None:
            with self._changed:
                self._listeners.discard(listener)

        return end

    def stop(self) -> None:
        """Keep what is there and end, whether or not anything is arriving."""
        self.cancellation.cancel()

    def wait_until_done(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.is_over, timeout)

    def update(self, **changes: object) -> None:
        with self._changed:
            self._last_change = time.monotonic()
            seconds = self._last_change - self._started
            self._snapshot = replace(self._snapshot, seconds=seconds, **changes)  # type: ignore[arg-type]
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener()


class LiveReplies:
    """All answers that this process is waiting for, and those that are just over."""

    def __init__(self, engine: ChatEngine, new_session: Callable[[], Session]) -> None:
        self._engine = engine
        self._new_session = new_session
        self._lock = Lock()
        self._replies: dict[ReplyKey, LiveReply] = {}
        self._is_closing = False

    def get(self, turn_id: str, side: Side) -> LiveReply | None:
        with self._lock:
            return self._replies.get(ReplyKey(turn_id, side))

    def in_sight_of(self, conversation_id: str) -> list[LiveReply]:
        """Return what a page has to look at beside the rows: see SECONDS_IN_SIGHT."""
        with self._lock:
            replies = list(self._replies.values())
        return [
            reply
            for reply in replies
            if reply.plan.conversation_id == conversation_id and reply.is_in_sight
        ]

    def running_of(self, conversation_id: str) -> list[LiveReply]:
        return [reply for reply in self.in_sight_of(conversation_id) if not reply.is_over]

    def require_room(self, wanted: int) -> None:
        """Raise TooManyAnswersError if so many more answers would be too many."""
        with self._lock:
            running = sum(not reply.is_over for reply in self._replies.values())
        if running + wanted > MOST_LIVE_REPLIES:
            raise TooManyAnswersError

    def expect(self, plans: list[ReplyPlan]) -> list[LiveReply]:
        """Let pages know of answers that are about to be asked for.

        From here on nobody can ask a second question beside them, and no page that sees their
        turns takes them for cut off.
        """
        replies = [LiveReply(plan) for plan in plans]
        with self._lock:
            self._forget_what_is_over()
            self._replies.update((reply.plan.key, reply) for reply in replies)
        return replies

    def start(self, replies: list[LiveReply]) -> None:
        """Ask for answers that are expected. Their turns have to be committed already."""
        for reply in replies:
            name = f"reply-{reply.plan.key.turn_id}"
            Thread(target=self._follow, args=(reply,), name=name, daemon=True).start()

    def give_up(self, replies: list[LiveReply]) -> None:
        """Expect answers no longer, as their turns came to nothing."""
        with self._lock:
            for reply in replies:
                if self._replies.get(reply.plan.key) is reply:
                    del self._replies[reply.plan.key]

    def close(self, seconds: float) -> None:
        """End all answers where they are and keep what is there, within about so many seconds."""
        with self._lock:
            self._is_closing = True
            replies = list(self._replies.values())
        for reply in replies:
            reply.stop()
        deadline = time.monotonic() + seconds
        for reply in replies:
            reply.wait_until_done(max(0.0, deadline - time.monotonic()))

    def _follow(self, reply: LiveReply) -> None:
        """The task of one answer, from the question to the row."""
        writer = ReplyWriter(self._new_session, reply.plan)
        try:
            end = self._listen_to_engine(reply, writer)
        except DomainError as error:
            end = _failed(error)
        except Exception:
            # The boundary of a thread: whatever happened, the page must hear of it.
            logger.exception("an answer failed")
            end = {"status": "failed", "problem": _unforeseen()}
        if end["status"] == "failed" and reply.cancellation.is_cancelled:
            # The connection was ended from here, so what broke is no failure.
            end = {"status": "cut" if self._is_closing else "stopped"}
        try:
            writer.finish(replace(reply.snapshot(), **end))  # type: ignore[arg-type]
        finally:
            reply.update(state="done", **end)
            with self._lock:
                self._forget_what_is_over()

    def _forget_what_is_over(self) -> None:
        for key in [key for key, reply in self._replies.items() if not reply.is_in_sight]:
            del self._replies[key]

    def _listen_to_engine(self, reply: LiveReply, writer: ReplyWriter) -> dict[str, object]:
        """Fill the buffer; return how it ended."""
        text = ""
        with closing(self._engine.ask(reply.plan.question, reply.cancellation)) as events:
            for event in events:
                if isinstance(event, Waiting):
                    reply.update(state=event.state)
                elif isinstance(event, Piece):
                    text += event.text
                    reply.update(state="writing", text=text, stamp=event.stamp)
                    writer.keep(reply.snapshot())
                elif isinstance(event, Ending):
                    reply.update(stamp=event.stamp, kinds=event.kinds)
                    return {"status": "length" if event.reason == "length" else "complete"}
        raise BrokenOffError


def _failed(error: DomainError) -> dict[str, object]:
    problem = {"what": error.what, "why": error.why, "next_step": error.next_step}
    if details := getattr(error, "details", ""):
        # Whoever looks after the machine sees no conversation but their own.
        logger.warning("the chat server said: %r", details)
        problem["details"] = details
    return {"status": "failed", "problem": problem}


def _unforeseen() -> dict[str, str]:
    return {
        "what": "The answer did not come.",
        "why": "Something went wrong inside Tailor; the log has the details.",
        "next_step": "Ask again.",
    }
