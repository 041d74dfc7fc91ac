"""One thread per web process follows every run that anybody looks at.

Its cost to the database depends on how many runs are looked at and how often they change, never on
how many people look: a look is one small query for all runs together, a change is fetched and
rendered once and handed to everyone, and the right to look is asked for all in one query.
"""

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import DATABASE_AWAY, transaction
from app.projects.tables import Role
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.places import QueuePlace
from app.runs.status import FINAL, RunStatus
from app.runs.tables import RunEvent
from app.runs.watching.repository import RunState, events_after, roles, run_states
from app.web.run_views import RunViews, ViewKey, for_reader, view_key
from app.web.sse import Outbox, event

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.7
_RIGHTS_SECONDS: Final = 10.0
_EVENTS_AT_ONCE: Final = 500
_SECONDS_KEPT_FOR_EACH: Final = 0.001
_LONGEST_KEPT_SECONDS: Final = 5.0


@dataclass(eq=False)
class Watcher:
    """One open page of a run.

    Attributes:
        sign_in_id: the session by which its reader came in.
        seen: the number of the last event that it was sent.
        shown: the view that it was sent.
    """

    run_id: str
    project_id: str
    sign_in_id: str
    form_token: str
    may_edit: bool
    seen: int
    outbox: Outbox
    shown: ViewKey | None = field(default=None)


class RunFeed:
    """The watchers, and the thread that serves them."""

    def __init__(self, engine: Engine, views: RunViews) -> None:
        self._engine = engine
        self._views = views
        self._watchers: set[Watcher] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._next_rights = 0.0
        self._places = _Places()
        self._thread = threading.Thread(target=self._run, name="run-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and every stream."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=5.0)
        for watcher in self._snapshot():
            watcher.outbox.close()

    def watch(self, watcher: Watcher) -> None:
        with self._changed:
            self._watchers.add(watcher)
            self._changed.notify()

    def forget(self, watcher: Watcher) -> None:
        with self._changed:
            self._watchers.discard(watcher)

    @property
    def watcher_count(self) -> int:
        return len(self._snapshot())

    def look(self) -> None:
        """Look once, and tell everyone what is new to them."""
        watchers = self._snapshot()
        if not watchers:
            return
        with transaction(self._engine, read_only=True) as session:
            if time.monotonic() >= self._next_rights:
                watchers = self._check_rights(session, watchers)
                self._next_rights = time.monotonic() + _RIGHTS_SECONDS
            states = run_states(session, {watcher.run_id for watcher in watchers})
            places = self._places.of(session, states)
            by_run = defaultdict(list)
            for watcher in watchers:
                by_run[watcher.run_id].append(watcher)
            for state in states:
                self._try_to_tell(
                    session, state, places.get(state.run_id), by_run.pop(state.run_id)
                )
        for deleted in by_run.values():
            self._close(deleted)

    def _try_to_tell(
        self,
        session: Session,
        state: RunState,
        place: QueuePlace | None,
        watchers: Collection[Watcher],
    ) -> None:
        """Tell the watchers of one run; one that cannot be shown takes nothing from the others.

        Its pages are let go of: they come again by themselves, after a pause.
        """
        try:
            self._tell(session, state, place, watchers)
        except DATABASE_AWAY:
            raise
        except Exception:
            logger.exception("Run %s could not be told to those who look at it.", state.run_id)
            self._close(watchers)

    def _tell(
        self,
        session: Session,
        state: RunState,
        place: QueuePlace | None,
        watchers: Collection[Watcher],
    ) -> None:
        behind = [watcher for watcher in watchers if watcher.seen < state.event_count]
        if behind:
            first = min(watcher.seen for watcher in behind)
            news = events_after(session, state.run_id, first, _EVENTS_AT_ONCE)
            _send_events(news, behind)
        for may_edit in {watcher.may_edit for watcher in watchers}:
            key = view_key(state, place, may_edit=may_edit)
            waiting = [w for w in watchers if w.may_edit == may_edit and w.shown != key]
            if waiting:
                view = self._views.view(session, state, place, may_edit=may_edit)
                for watcher in waiting:
                    watcher.outbox.send(event("view", for_reader(view, watcher.form_token)))
                    watcher.shown = key
        if state.status in FINAL:
            done = [watcher for watcher in watchers if watcher.seen >= state.event_count]
            for watcher in done:
                watcher.outbox.send(event("end"))
            self._close(done)

    def _check_rights(self, session: Session, watchers: list[Watcher]) -> list[Watcher]:
        """Let go of those who signed out or left the project; return the others."""
        still = roles(session, {(watcher.sign_in_id, watcher.project_id) for watcher in watchers})
        welcome = []
        for watcher in watchers:
            role = still.get((watcher.sign_in_id, watcher.project_id))
            if role is None:
                self._close([watcher])
            else:
                watcher.may_edit = role != Role.VIEWER
                welcome.append(watcher)
        return welcome

    def _close(self, watchers: Collection[Watcher]) -> None:
        for watcher in watchers:
            self.forget(watcher)
            watcher.outbox.close()

    def _snapshot(self) -> list[Watcher]:
        with self._changed:
            return list(self._watchers)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or bool(self._watchers))
                if self._stopped:
                    return
            try:
                self.look()
            except DATABASE_AWAY as error:
                logger.warning("The database does not answer: %s", error)
            except Exception:
                # The thread's boundary: it serves every open page, so it must not end.
                logger.exception("A look met something unforeseen; the next one is tried.")
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, timeout=_LOOK_SECONDS)


class _Places:
    """Where waiting runs stand, kept for a while where the queue is long.

    Playing ten thousand runs forward takes a sixth of a second, so an answer is kept the longer the
    more stand before those who ask: short queues are told as they are, and long ones cost little.
    """

    def __init__(self) -> None:
        self._known: dict[str, QueuePlace] = {}
        self._asked_for: frozenset[str] = frozenset()
        self._good_until = 0.0

    def of(self, session: Session, states: Collection[RunState]) -> dict[str, QueuePlace]:
        """Return where the waiting ones among these runs stand; asks only if there are any."""
        waiting = frozenset(state.run_id for state in states if state.status == RunStatus.QUEUED)
        if not waiting:
            return {}
        if time.monotonic() >= self._good_until or not waiting <= self._asked_for:
            self._known, self._asked_for = places_in_queue(session, waiting), waiting
            depth = max((place.ahead for place in self._known.values()), default=0)
            kept = min(depth * _SECONDS_KEPT_FOR_EACH, _LONGEST_KEPT_SECONDS)
            self._good_until = time.monotonic() + kept
        return self._known


def _send_events(news: Collection[RunEvent], watchers: Collection[Watcher]) -> None:
    messages = [
        (entry.sequence, event(entry.kind, json.dumps(entry.payload), entry.sequence))
        for entry in news
    ]
    for watcher in watchers:
        for sequence, message in messages:
            if sequence > watcher.seen:
                watcher.outbox.send(message)
                watcher.seen = sequence


@asynccontextmanager
async def run_feed(application: FastAPI) -> AsyncIterator[None]:
    """The service: app.state.run_feed for streams, app.state.run_views for pages."""
    feed = RunFeed(application.state.engine, application.state.run_views)
    application.state.run_feed = feed
    feed.start()
    try:
        yield
    finally:
        feed.stop()
