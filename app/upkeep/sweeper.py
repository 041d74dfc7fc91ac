"""Every few seconds: free what lost its worker, and remind the workers of what waits.

It runs in the web process and in every worker, any number at once: each change is made under the
row's lock, and a hint too many costs nothing. It stands above all concepts; each of them says what
waits and tidies up behind itself.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.base_models.service import pending_base_models
from app.database.session import DATABASE_AWAY, transaction
from app.datasets.importing import pending_imports
from app.datasets.service import remove_orphaned_uploads
from app.jobs import QUEUE_OF, Hint, send_now, waiting_messages
from app.journey.deletion import finish_deletions
from app.leases.tables import LEASE_SECONDS
from app.runs.lost import free_lost_runs
from app.runs.queue.hints import pending_runs
from app.runs.tidying import forget_old_uses, tidy_run_folders
from app.storage.folders import Storage

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = LEASE_SECONDS / 3
_TIDY_SECONDS: Final = 60.0
_SLOW_SWEEP_SECONDS: Final = LEASE_SECONDS / 6


def send_hints(engine: Engine) -> None:
    """Remind the workers of everything that waits, unless as many reminders lie there already."""
    with transaction(engine, read_only=True) as session:
        waiting = pending_runs(session)
        others = [*pending_imports(session), *pending_base_models(session)]
    waiting += [Hint(job, entity_id, QUEUE_OF[job]) for job, entity_id in others]
    for queue in dict.fromkeys(hint.queue for hint in waiting):
        _fill_up(queue, [hint for hint in waiting if hint.queue == queue])


def _fill_up(queue: str, hints: list[Hint]) -> None:
    lying_there = waiting_messages(queue)
    if lying_there is None or lying_there >= len(hints):
        return
    for hint in hints:
        send_now(hint)


class Sweeper:
    """The thread that sweeps, and can be held still while its process forks."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        seconds: float = SWEEP_SECONDS,
        announce: Callable[[Session], None] | None = None,
    ) -> None:
        """Prepare it.

        Args:
            engine: the database.
            storage: the folders that are tidied.
            seconds: between two sweeps.
            announce: says to the database that this worker is there.
        """
        self._engine = engine
        self._storage = storage
        self._announce = announce
        self._seconds = seconds
        self._stop = threading.Event()
        self._sweeping = threading.Lock()
        self._thread: threading.Thread | None = None
        self._database_was_away = False
        self._next_tidying = 0.0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def pause(self) -> None:
        """Wait for a sweep to end and let none begin."""
        self._sweeping.acquire()

    def go_on(self) -> None:
        self._sweeping.release()

    def sweep(self) -> None:
        """Do one round.

        When the database was away, those who hold runs could not say that they live; they get one
        round in which to say it before anything is taken from them.
        """
        began = time.monotonic()
        try:
            self._say_that_we_are_there()
            if not self._database_was_away:
                free_lost_runs(self._engine)
            send_hints(self._engine)
            self._tidy()
        except DATABASE_AWAY as error:
            logger.warning("The database does not answer: %s", error)
            self._database_was_away = True
        else:
            self._database_was_away = time.monotonic() - began > _SLOW_SWEEP_SECONDS

    def _arrive(self) -> None:
        """Say that we are there, and be told at once what waits for someone like us."""
        self._say_that_we_are_there()
        if self._announce is not None:
            send_hints(self._engine)

    def _say_that_we_are_there(self) -> None:
        if self._announce is not None:
            with transaction(self._engine) as session:
                self._announce(session)

    def _tidy(self) -> None:
        """Now and then put away what nobody will read again; nothing of it is urgent."""
        if time.monotonic() < self._next_tidying:
            return
        self._next_tidying = time.monotonic() + _TIDY_SECONDS
        with transaction(self._engine, read_only=True) as session:
            remove_orphaned_uploads(session, self._storage)
            tidy_run_folders(session, self._storage)
        with transaction(self._engine) as session:
            forget_old_uses(session)
        finish_deletions(self._engine, self._storage)

    def _run(self) -> None:
        self._safely(self._arrive)
        while not self._stop.wait(self._seconds):
            self._safely(self.sweep)

    def _safely(self, work: Callable[[], None]) -> None:
        with self._sweeping:
            try:
                work()
            except Exception:
                # The thread's boundary: without it nothing that lost its worker is freed.
                logger.exception("A sweep met something unforeseen; the next one is tried.")
