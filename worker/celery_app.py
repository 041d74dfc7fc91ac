"""The Celery worker: `python -m worker.celery_app --queue runs|light`.

The main process waits for messages and never works itself. Its pool processes do the work: one for
each device that trains; a few for imports and downloads.
"""

import argparse
import logging
import os
import sys
from typing import Final

from celery import signals
from sqlalchemy.orm import Session

from app.database.engine import get_engine
from app.jobs import LIGHT_QUEUE, RUNS_QUEUE, celery_app, runs_queue
from app.runs.holding import owner_name
from app.settings import SettingsError, get_settings
from app.storage.folders import get_storage
from app.upkeep.sweeper import Sweeper
from app.workers.repository import report
from worker.device_trials import DeviceTrials
from worker.devices import describe
from worker.lifeline import lifeline
from worker.spare import spares
from worker.tasks import register_tasks

logger = logging.getLogger(__name__)

_LIGHT_PROCESSES: Final = 3


def main() -> None:
    """Work until a signal; SIGTERM saves what is being trained and ends within half a minute."""
    parser = argparse.ArgumentParser(description="Tailor's worker.")
    parser.add_argument("--queue", choices=(LIGHT_QUEUE, RUNS_QUEUE), required=True)
    parser.add_argument("--concurrency", type=int, default=None)
    arguments = parser.parse_args()
    try:
        settings = get_settings()
    except SettingsError as error:
        sys.exit(f"Tailor's worker cannot start with these settings.\n{error}")
    os.umask(0o077)
    get_storage().prepare()
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Alone in the log, for each message a line that nobody needs.
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    register_tasks()
    _prepare_processes(arguments.queue)
    messages, processes = arguments.queue, _LIGHT_PROCESSES
    if arguments.queue == RUNS_QUEUE:
        device = describe(get_storage())
        messages, processes = runs_queue(device.kind), device.count
        logger.info("This worker trains on %s.", device.name)
    celery_app().worker_main(
        [
            "worker",
            *("--queues", messages),
            *("--concurrency", str(arguments.concurrency or processes)),
            *("--pool", "prefork"),
            *("--hostname", f"{arguments.queue}@%h"),
            *("--loglevel", settings.log_level),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


def _prepare_processes(queue: str) -> None:
    """Say what the main process and its pool processes do when they come and go."""
    line = lifeline()
    name = f"{owner_name()}/{queue}"

    trials = DeviceTrials(get_storage())

    def announce(session: Session) -> None:
        trains = queue == RUNS_QUEUE
        report(session, name, queue, describe(get_storage()) if trains else None)
        if trains and get_settings().measure_machine:
            trials.look(session)

    sweeper = Sweeper(get_engine(), get_storage(), announce=announce)
    # A process that is forked in the middle of a sweep would inherit its locks, taken for ever.
    os.register_at_fork(
        before=sweeper.pause, after_in_parent=sweeper.go_on, after_in_child=sweeper.go_on
    )

    def in_pool_process(**_: object) -> None:
        line.enter_pool_process()
        # The parent's connections are the parent's.
        get_engine().dispose(close=False)
        if queue == RUNS_QUEUE:
            spares()

    signals.worker_process_init.connect(in_pool_process, weak=False)
    signals.worker_ready.connect(lambda **_: sweeper.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: line.request_stop(), weak=False)
    signals.worker_shutdown.connect(lambda **_: sweeper.stop(), weak=False)


if __name__ == "__main__":
    main()
