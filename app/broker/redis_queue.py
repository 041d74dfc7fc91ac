"""Redis as the job queue, with a worker that survives what is no message of ours.

kombu's own transport lets a line that is not JSON end the worker. A message is only a hint (see
app/jobs.py), so one that cannot be read is logged and let go.
"""

import logging
from typing import Any

from kombu.transport import redis

from app.broker.messages import GarbageMessageError, checked_message

logger = logging.getLogger(__name__)

_SET_ASIDE = "A message in the job queue cannot be read and is let go: %s"


class Channel(redis.Channel):
    def _brpop_read(self, **options: object) -> bool:
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        except ValueError as error:
            # It was not even JSON. The reply has been read to its end; the connection is sound.
            logger.warning(_SET_ASIDE, error)
            return True


class Transport(redis.Transport):
    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:  # noqa: ANN401 (whatever lay there)
        try:
            checked_message(message)
        except GarbageMessageError as error:
            logger.warning(_SET_ASIDE, error)
            return
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]
