"""What a worker does with an upload: look into it, and later make examples of it.

Both run under a lease. A worker that dies leaves its row to the next one, which first takes away
what the dead one had added, so that copies are counted right.
"""

import errno
import logging
from collections.abc import Callable
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.clock import now
from app.database.session import DATABASE_AWAY
from app.datasets.content import NewExample, cleaned
from app.datasets.holding import HeldImport, claim_import
from app.datasets.reader_process import inspect_file, read_file
from app.datasets.readers.records import Reason, shortened
from app.datasets.report import Counts, LeftOutFile
from app.datasets.repository import ExampleRepository, ImportRepository
from app.datasets.tables import Import, ImportStatus
from app.datasets.uploads import SOURCE_FILE
from app.errors import DomainError
from app.jobs import IMPORT_EXAMPLES, INSPECT_IMPORT
from app.leases.repository import LostLeaseError, write_under_fence
from app.settings import get_settings
from app.storage.folders import Storage

logger = logging.getLogger(__name__)

_DELETE_AT_ONCE: Final = 2_000


def pending_imports(session: Session) -> list[tuple[str, str]]:
    """Return (job, import id) for all that waits, or was left by a worker that died."""
    imports = ImportRepository(session)
    inspect = imports.ids_in([ImportStatus.UPLOADED], expired=False)
    inspect += imports.ids_in([ImportStatus.INSPECTING], expired=True)
    carry_on = imports.ids_in([ImportStatus.CONFIRMED], expired=False)
    carry_on += imports.ids_in([ImportStatus.IMPORTING], expired=True)
    return [(INSPECT_IMPORT, key) for key in inspect] + [(IMPORT_EXAMPLES, key) for key in carry_on]


def inspect_import(engine: Engine, storage: Storage, import_id: str, owner: str) -> None:
    """Find out what an upload is; ends in awaiting_mapping or failed."""
    held = claim_import(engine, import_id, owner, ImportStatus.UPLOADED, ImportStatus.INSPECTING)
    if held is None:
        return

    def chosen_encoding(session: Session) -> str:
        entry = ImportRepository(session).find(import_id)
        understood = (entry.understood if entry is not None else None) or {}
        return str(understood.get("chosen_encoding", ""))

    def look() -> None:
        encoding = held.write(chosen_encoding)
        understood = inspect_file(_source(storage, import_id), encoding)
        held.finish(status=ImportStatus.AWAITING_MAPPING, understood=understood)

    _work(held, look)


def run_import(
    engine: Engine,
    storage: Storage,
    import_id: str,
    owner: str,
    max_examples: int | None = None,
) -> None:
    """Make examples of an upload whose columns are confirmed; ends in imported or failed."""
    held = claim_import(engine, import_id, owner, ImportStatus.CONFIRMED, ImportStatus.IMPORTING)
    if held is None:
        return
    limit = get_settings().max_examples if max_examples is None else max_examples
    _work(held, lambda: _Importer(held, storage, limit).run())


def _work(held: HeldImport, act: Callable[[], None]) -> None:
    """Do it, and write down how it failed, if it did. The boundary of a task."""
    try:
        with held.kept():
            try:
                act()
            except DomainError as error:
                problem = {"what": error.what, "why": error.why, "next_step": error.next_step}
                held.finish(status=ImportStatus.FAILED, problem=problem, finished_at=now())
            except OSError as error:
                logger.exception("Import %s could not use its folder.", held.id)
                problem = _OF_ERRNO.get(error.errno or 0, _UNFORESEEN)
                held.finish(status=ImportStatus.FAILED, problem=problem, finished_at=now())
            except (LostLeaseError, *DATABASE_AWAY):
                raise
            except Exception:
                logger.exception("Import %s met something unforeseen.", held.id)
                held.finish(status=ImportStatus.FAILED, problem=_UNFORESEEN, finished_at=now())
    except LostLeaseError:
        logger.warning("Import %s is someone else's by now, or was deleted.", held.id)
    except DATABASE_AWAY:
        # The lease runs out and the sweeper hands the import on.
        logger.exception("The database stayed away; import %s is left as it is.", held.id)


_DISK_FULL: Final = {
    "what": "The disk of this machine is full.",
    "why": "There was no room for the report of this import.",
    "next_step": "Ask the person who runs Tailor to make room, then upload the file again.",
}
_FILE_GONE: Final = {
    "what": "The uploaded file is no longer there.",
    "why": "It was removed from Tailor's data folder.",
    "next_step": "Upload it again.",
}
_UNFORESEEN: Final = {
    "what": "Something went wrong inside Tailor.",
    "why": "It was not your doing; what was imported before that is kept.",
    "next_step": "Upload the file again. If it happens again, tell the person who runs Tailor.",
}
_OF_ERRNO: Final = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.ENOENT: _FILE_GONE,
}


def _source(storage: Storage, import_id: str) -> Path:
    return storage.path("uploads", import_id, SOURCE_FILE)


class _Importer:
    def __init__(self, held: HeldImport, storage: Storage, limit: int) -> None:
        self._held = held
        self._storage = storage
        self._limit = limit
        self._counts = Counts()
        self._problem: dict[str, str] | None = None

    def run(self) -> None:
        entry = self._held.write(self._begin)
        self._take_back()
        before = self._held.write(
            lambda session: ExampleRepository(session).count(entry.project_id)
        )
        folder = self._storage.folder("uploads", self._held.id)
        with LeftOutFile(folder, self._held.fence) as left_out:
            self._read(entry, self._limit - before, left_out)
        report = {**self._counts.as_json(), "details": left_out.details, "problem": self._problem}
        status = ImportStatus.IMPORTED
        if self._problem is not None and self._counts.added == 0:
            status = ImportStatus.FAILED
        self._held.finish(
            status=status,
            report=report,
            problem=self._problem if status == ImportStatus.FAILED else None,
            progress_rows=self._counts.rows,
            finished_at=now(),
        )

    def _begin(self, session: Session) -> Import:
        entry = ImportRepository(session).find(self._held.id)
        if entry is None or entry.understood is None or entry.mapping is None:
            raise LostLeaseError(f"import {self._held.id} is gone")
        write_under_fence(
            session, Import, self._held.id, self._held.fence, report=None, progress_rows=0
        )
        return entry

    def _take_back(self) -> None:
        """Take away what an earlier attempt had added, in short transactions."""

        def some(session: Session) -> int:
            write_under_fence(session, Import, self._held.id, self._held.fence, progress_rows=0)
            return ExampleRepository(session).delete_of_import(self._held.id, _DELETE_AT_ONCE)

        while self._held.write(some):
            continue

    def _read(self, entry: Import, room: int, left_out: LeftOutFile) -> None:
        understood, mapping = entry.understood or {}, entry.mapping or {}
        source = _source(self._storage, entry.id)
        try:
            with closing(read_file(source, understood["plan"], mapping)) as batches:
                for message in batches:
                    self._add_batch(entry, message, room, left_out)
                    if self._counts.reached_limit:
                        return
        except DomainError as error:
            # What could be read before stays.
            self._problem = {"what": error.what, "why": error.why, "next_step": error.next_step}

    def _add_batch(
        self, entry: Import, message: dict[str, Any], room: int, left_out: LeftOutFile
    ) -> None:
        not_added = [(row["row"], row["value"], row["reason"]) for row in message["left_out"]]
        for _, _, reason in not_added:
            self._counts.left_out[reason] = self._counts.left_out.get(reason, 0) + 1
        examples: dict[str, NewExample] = {}
        copies: list[NewExample] = []
        for draft in message["drafts"]:
            example = _example(draft, entry.id)
            if example.content_hash in examples:
                copies.append(example)
            else:
                examples[example.content_hash] = example
        wanted = list(examples.values())
        batch = self._counts.batch + 1

        def add(session: Session) -> tuple[Counts, set[str]]:
            return self._write_batch(
                session, entry.project_id, wanted, message["rows"], batch, room
            )

        self._counts, inserted = self._held.write(add)
        if not self._counts.reached_limit:
            copies += [example for key, example in examples.items() if key not in inserted]
        self._counts.duplicates += len(copies)
        for copy in copies:
            text = shortened(f"{copy.question} | {copy.answer}" if copy.question else copy.answer)
            not_added.append((copy.row_number or 0, text, Reason.EXACT_COPY))
        for row, value, reason in sorted(not_added, key=itemgetter(0)):
            if reason != Reason.EMPTY_ROW:
                left_out.add(row, value, reason)

    def _write_batch(
        self,
        session: Session,
        project_id: str,
        wanted: list[NewExample],
        rows: int,
        batch: int,
        room: int,
    ) -> tuple[Counts, set[str]]:
        """Add a batch and what it did to the counts, in one transaction.

        Raises:
            LostLeaseError: if someone else owns the import.
        """
        held = self._held
        write_under_fence(session, Import, held.id, held.fence, progress_rows=rows)
        examples = ExampleRepository(session)
        entry = ImportRepository(session).find(held.id)
        if entry is not None and entry.report and entry.report["batch"] >= batch:
            # The first try was committed although the connection broke: nothing is to be added.
            present = {
                example.content_hash
                for example in wanted
                if examples.is_of_import(project_id, example.content_hash, held.id)
            }
            return Counts.from_json(entry.report), present
        taken = wanted[: max(0, room - self._counts.added)]
        inserted = examples.add(project_id, taken)
        counts = Counts(
            batch=batch,
            rows=rows,
            added=self._counts.added + len(inserted),
            duplicates=self._counts.duplicates,
            left_out=self._counts.left_out,
            reached_limit=len(taken) < len(wanted),
        )
        write_under_fence(session, Import, held.id, held.fence, report=counts.as_json())
        return counts, inserted


def _example(draft: dict[str, Any], import_id: str) -> NewExample:
    return NewExample(
        answer=cleaned(draft["answer"]),
        question=cleaned(draft["question"]),
        instructions=cleaned(draft["instructions"]),
        earlier_turns=[
            {"role": turn["role"], "content": cleaned(turn["content"])} for turn in draft["earlier"]
        ],
        row_number=draft["row"],
        import_id=import_id,
        rejected=cleaned(draft["rejected"]),
        is_liked=draft["is_liked"],
        is_label=draft["is_label"],
    )
