"""Hold an import's row while a worker reads its file."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.patience import patient_transaction
from app.database.session import DATABASE_AWAY, transaction
from app.datasets.repository import ImportRepository
from app.datasets.tables import Import, ImportStatus
from app.leases.repository import LostLeaseError, claim, extend, release
from app.leases.tables import HEARTBEAT_SECONDS, MAX_ATTEMPTS

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HeldImport:
    """A claimed import: heartbeats in the background, and every write under the fence."""

    def __init__(self, engine: Engine, import_id: str, fence: int) -> None:
        self.id = import_id
        self.fence = fence
        self._engine = engine
        self._done = threading.Event()
        self._lost = threading.Event()

    def write(self, act: Callable[[Session], T]) -> T:
        """Do something in one transaction, again and again while the database is away.

        Raises:
            LostLeaseError: if someone else owns the import by now.
        """
        if self._lost.is_set():
            raise LostLeaseError(f"import {self.id} is no longer held under fence {self.fence}")
        return patient_transaction(self._engine, act)

    def finish(self, **values: object) -> None:
        """Give the row back with last values."""
        self.write(
            lambda session: release(session, Import, self.id, self.fence, attempts=0, **values)
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hold the row by heartbeats while the block runs.

        The heart beats in a thread of its own: opening a large workbook says nothing for a while.
        """
        thread = threading.Thread(target=self._beat, name=f"import {self.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                with transaction(self._engine) as session:
                    extend(session, Import, self.id, self.fence)
            except LostLeaseError:
                self._lost.set()
                return
            except DATABASE_AWAY as error:
                logger.warning("No heartbeat for import %s: %s", self.id, error)
            except Exception:
                # The thread's boundary. Nobody may go on writing whose heart stands still.
                logger.exception("The heart of import %s stopped.", self.id)
                self._lost.set()
                return


def claim_import(
    engine: Engine,
    import_id: str,
    owner: str,
    waiting: ImportStatus,
    working: ImportStatus,
) -> HeldImport | None:
    """Claim an import that waits, or was left by a worker that died; None if there is none."""

    def act(session: Session) -> int | None:
        fence = claim(
            session,
            Import,
            import_id,
            owner=owner,
            claimable=[waiting, working],
            values={"status": working, "problem": None},
        )
        entry = ImportRepository(session).find(import_id)
        if fence is None or entry is None or entry.attempts <= MAX_ATTEMPTS:
            return fence
        failed = {"status": ImportStatus.FAILED, "problem": _GAVE_UP}
        release(session, Import, import_id, fence, attempts=0, **failed)
        return None

    fence = patient_transaction(engine, act)
    return None if fence is None else HeldImport(engine, import_id, fence)


_GAVE_UP: Final = {
    "what": "Reading this file was tried three times and broke off each time.",
    "why": "The machine may have run out of memory, or was switched off.",
    "next_step": "Upload it again; if that does not help, split it into several files.",
}
