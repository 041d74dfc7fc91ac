"""Keeps one answer in the database: every few seconds while it grows, and at its end."""

import logging
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.orm import Session

from app.chat import repository
from app.chat.engine import Stamp
from app.chat.replies import ReplyPlan, Snapshot
from app.chat.tables import ChatReply
from app.database.patience import patiently
from app.database.session import DATABASE_AWAY
from app.ids import new_id

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SAVES: Final = 3.0
_SECONDS_AFTER_A_FAILURE: Final = 30.0


class ReplyWriter:
    """Belongs to the thread that reads the answer."""

    def __init__(self, new_session: Callable[[], Session], plan: ReplyPlan) -> None:
        self._new_session = new_session
        self._plan = plan
        self._row_id = new_id()
        self._next_save = time.monotonic() + SECONDS_BETWEEN_SAVES

    def keep(self, snapshot: Snapshot) -> None:
        """Write what is there, if that was not done a moment ago. A failure is no matter yet."""
        if time.monotonic() < self._next_save:
            return
        pause = SECONDS_BETWEEN_SAVES
        try:
            self._write(snapshot, "writing")
        except DATABASE_AWAY as error:
            logger.warning("half an answer could not be kept: %s", error)
            pause = _SECONDS_AFTER_A_FAILURE
        self._next_save = time.monotonic() + pause

    def finish(self, final: Snapshot) -> None:
        """Write the whole answer; a database that is away for a while is waited for."""
        try:
            patiently(lambda: self._write(final, final.status))
        except DATABASE_AWAY:
            logger.exception("An answer could not be kept: the database stayed away.")

    def _write(self, snapshot: Snapshot, status: str) -> None:
        with self._new_session() as session, session.begin():
            # The conversation may have been deleted meanwhile; then nobody misses it.
            if not repository.turn_exists(session, self._plan.key.turn_id):
                return
            reply = repository.reply(session, self._row_id)
            if reply is None:
                reply = ChatReply(
                    id=self._row_id,
                    turn_id=self._plan.key.turn_id,
                    side=self._plan.key.side,
                    attempt=self._plan.attempt,
                    model_name=self._plan.model_name,
                    status=status,
                )
                repository.add(session, reply)
            _fill(reply, snapshot, status)


def _fill(reply: ChatReply, snapshot: Snapshot, status: str) -> None:
    stamp = snapshot.stamp or Stamp(model="")
    reply.text = snapshot.text
    reply.status = status
    reply.served_model = stamp.model
    reply.base_fingerprint = stamp.base_fingerprint
    reply.adapter_sha256 = stamp.adapter_sha256
    reply.turns_left_out = stamp.turns_left_out
    reply.seconds = snapshot.seconds
    reply.problem = snapshot.problem
    reply.kinds = [dict(share) for share in snapshot.kinds] or None
