"""Hints to the workers: a job's name and one id, sent after the commit.

A message is only a hint. The database says what is to be done, and the sweeper sends a hint again
when one was lost; so a broker that is away for a moment costs nothing but time.
"""

import logging
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from app.broker.options import broker_options
from app.database.session import after_commit
from app.settings import get_settings

logger = logging.getLogger(__name__)

RUNS_QUEUE: Final = "runs"
"""What trains; its messages go to one queue for each kind of device, see runs_queue."""
LIGHT_QUEUE: Final = "light"

EXECUTE_RUN: Final = "runs.execute"
INSPECT_IMPORT: Final = "datasets.inspect"
IMPORT_EXAMPLES: Final = "datasets.import"
FETCH_BASE_MODEL: Final = "base_models.fetch"
CHECK_BASE_MODEL: Final = "base_models.check"

# Of hints that wake any worker; which ones a waiting run wakes, app/runs/queue/hints.py says.
QUEUE_OF: Final = {
    INSPECT_IMPORT: LIGHT_QUEUE,
    IMPORT_EXAMPLES: LIGHT_QUEUE,
    FETCH_BASE_MODEL: LIGHT_QUEUE,
    CHECK_BASE_MODEL: LIGHT_QUEUE,
}

BROKER_AWAY: Final = (OperationalError, RedisError, OSError)
"""What is raised while the job queue does not answer; redis' own errors come through unwrapped."""


@cache
def celery_app() -> Celery:
    """Return the Celery application; JSON messages only, no results, no revokes, no ETAs."""
    options = broker_options(get_settings().resolved_broker_url)
    application = Celery("tailor", broker=options.url)
    application.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_default_queue=LIGHT_QUEUE,
        task_routes={name: {"queue": queue} for name, queue in QUEUE_OF.items()},
        broker_transport_options=options.transport_options,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=5,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        timezone="UTC",
    )
    return application


@dataclass(frozen=True)
class Hint:
    """A message that is to be sent: a job, what it is about, and the queue for it."""

    job: str
    entity_id: str
    queue: str


def runs_queue(kind: str) -> str:
    """Return the queue from which the devices of a kind are woken."""
    return f"{RUNS_QUEUE}-{kind}"


def send_after_commit(session: Session, job: str, entity_id: str, queue: str | None = None) -> None:
    """Send a hint once the session's transaction is committed; drop it if it rolls back.

    Args:
        session: whose transaction counts.
        job: its name; None as the queue stands for QUEUE_OF it.
        entity_id: what it is about.
        queue: where it goes.
    """
    hint = Hint(job, entity_id, queue or QUEUE_OF[job])
    after_commit(session, partial(send_now, hint))


def send_now(hint: Hint) -> None:
    """Send a hint. A broker that does not answer is logged; the sweeper will send it again."""
    job, entity_id = hint.job, hint.entity_id
    try:
        celery_app().send_task(job, args=[entity_id], queue=hint.queue, retry=False)
    except BROKER_AWAY as error:
        logger.warning("The job queue did not take %s %s: %s", job, entity_id, error)


def waiting_messages(queue: str) -> int | None:
    """Return how many hints lie in a queue; None if the broker does not answer."""
    try:
        with celery_app().connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            declared = connection.default_channel.queue_declare(queue, passive=True)
    except ChannelError:
        # Redis forgets an empty queue.
        return 0
    except BROKER_AWAY as error:
        logger.warning("The job queue does not answer: %s", error)
        return None
    return int(declared.message_count)
