"""Imports are claimed, counted, and start again without doubling anything."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.patience import PATIENCE_SECONDS
from app.database.session import transaction
from app.datasets import service
from app.datasets.content import NewExample
from app.datasets.errors import ImportNotWaitingError
from app.datasets.importing import inspect_import, pending_imports, run_import
from app.datasets.mapping import proposed_mapping
from app.datasets.repository import ExampleRepository
from app.datasets.tables import Import, ImportStatus
from app.jobs import IMPORT_EXAMPLES, INSPECT_IMPORT
from app.leases.repository import claim, write_under_fence
from app.settings import REPOSITORY_ROOT
from app.storage.folders import Storage
from tests.support import databases
from tests.support.uploads import (
    MANY,
    all_examples,
    confirmed,
    find,
    imported,
    json_lines,
    new_project,
    upload,
)
from tests.support.waiting import wait_until

TABLE = "question,answer\n" + "".join(f"Question {i}?,Answer {i}.\n" for i in range(1_200))


def _expire(engine: Engine, import_id: str) -> None:
    """What time does to the lease of a worker that died."""
    with transaction(engine) as session:
        entry = session.get(Import, import_id)
        assert entry is not None
        entry.lease_expires_at = 1.0


def test_a_file_becomes_examples(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    text = TABLE + "Question 3?,Answer 3.\n,lost\nQuestion 4?,Answer 4.\n"
    entry = imported(engine, storage, project_id, text)
    assert entry.status == ImportStatus.IMPORTED
    assert entry.report is not None
    assert entry.report["added"] == 1_200
    assert entry.report["duplicates"] == 2
    assert entry.report["left_out"] == {"empty_question": 1}
    assert {"row": 1203, "value": "lost", "reason": "empty_question"} in entry.report["details"]
    assert entry.progress_rows == 1_203
    assert entry.finished_at is not None
    examples = all_examples(engine, project_id)
    assert [example.row_number for example in examples] == list(range(2, 1_202))


def test_copies_of_what_is_there_are_dropped(engine: Engine, storage: Storage) -> None:
    project_id, other = new_project(engine), new_project(engine)
    imported(engine, storage, project_id, TABLE)
    again = imported(engine, storage, project_id, TABLE)
    assert again.report is not None
    assert (again.report["added"], again.report["duplicates"]) == (0, 1_200)
    elsewhere = imported(engine, storage, other, TABLE)
    assert elsewhere.report is not None
    assert elsewhere.report["added"] == 1_200


def test_an_unreadable_file_fails_with_a_sentence(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = upload(engine, storage, project_id, b"%PDF-1.7 and so on")
    inspect_import(engine, storage, import_id, "test")
    entry = find(engine, project_id, import_id)
    assert entry.status == ImportStatus.FAILED
    assert entry.problem is not None
    assert entry.problem["what"] == "This file is a PDF document."


def test_a_vanished_file_fails_with_a_sentence(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = upload(engine, storage, project_id, TABLE)
    storage.remove("uploads", import_id)
    inspect_import(engine, storage, import_id, "test")
    entry = find(engine, project_id, import_id)
    assert entry.status == ImportStatus.FAILED
    assert entry.problem is not None


def test_all_rows_left_out_stand_in_the_file_harmlessly(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    rows = "".join(f'"=HYPERLINK({i})",\n' for i in range(1_100))
    entry = imported(engine, storage, project_id, TABLE + rows)
    assert entry.report is not None
    assert len(entry.report["details"]) == 1_000
    path = storage.path("uploads", entry.id, "left_out.csv")
    lines = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    assert len(lines) == 1_101
    assert lines[1] == ["1202", "'=HYPERLINK(0)", "The answer is empty."]


def test_rows_without_text_in_the_chosen_columns_are_listed_and_empty_ones_are_not(
    engine: Engine, storage: Storage
) -> None:
    rows = [{"question": "Hi?", "answer": "There"}, {"prompt": "Yo?", "completion": "Man"}, {}]
    entry = imported(engine, storage, new_project(engine), json_lines(rows))
    assert entry.report is not None
    assert entry.report["left_out"] == {"nothing_chosen": 1, "empty_row": 1}
    text = storage.path("uploads", entry.id, "left_out.csv").read_text("utf-8-sig")
    sentence = "No text to learn stands in the columns that were chosen."
    assert list(csv.reader(text.splitlines()))[1:] == [["2", "Yo? | Man", sentence]]


def test_the_limit_of_examples_is_kept(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    entry = imported(engine, storage, project_id, TABLE, limit=700)
    assert entry.report is not None
    assert entry.report["reached_limit"]
    assert entry.report["added"] == len(all_examples(engine, project_id)) == 700


def test_a_second_worker_finds_nothing_to_do(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    with transaction(engine) as session:
        fence = claim(
            session,
            Import,
            import_id,
            owner="other",
            claimable=["confirmed"],
            values={"status": "importing"},
        )
        assert fence is not None
    run_import(engine, storage, import_id, "test", MANY)
    assert all_examples(engine, project_id) == []


def test_what_a_dead_worker_had_added_is_taken_back_first(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    with transaction(engine) as session:
        fence = claim(
            session,
            Import,
            import_id,
            owner="dead",
            claimable=["confirmed"],
            values={"status": "importing"},
        )
        assert fence is not None
        report = {
            "batch": 1,
            "rows": 2,
            "added": 2,
            "duplicates": 0,
            "left_out": {},
            "reached_limit": False,
        }
        write_under_fence(session, Import, import_id, fence, report=report)
        ExampleRepository(session).add(
            project_id,
            [
                NewExample("Answer 0.", "Question 0?", row_number=2, import_id=import_id),
                NewExample("Answer 1.", "Question 1?", row_number=3, import_id=import_id),
            ],
        )
    _expire(engine, import_id)
    with transaction(engine, read_only=True) as session:
        assert (IMPORT_EXAMPLES, import_id) in pending_imports(session)
    run_import(engine, storage, import_id, "test", MANY)
    entry = find(engine, project_id, import_id)
    assert entry.report is not None
    assert (entry.report["added"], entry.report["duplicates"]) == (1_200, 0)
    assert len(all_examples(engine, project_id)) == 1_200


_WORKER = """
import sys
from pathlib import Path
from app.database.engine import build_engine
from app.datasets.importing import run_import
from app.storage.folders import Storage
run_import(build_engine(sys.argv[1]), Storage(Path(sys.argv[2])), sys.argv[3], "killed", 10**6)
"""


def test_a_worker_killed_in_the_middle(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    rows = "".join(f"Question {i}?,Answer {i}.\n" for i in range(30_000))
    import_id = confirmed(engine, storage, project_id, "question,answer\n" + rows)
    url = engine.url.render_as_string(hide_password=False)
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, str(storage.root), import_id],
        cwd=REPOSITORY_ROOT,
        start_new_session=True,
    )
    wait_until(
        lambda: find(engine, project_id, import_id).progress_rows > 1_000,
        timeout=60,
        what="the first thousand rows",
        interval=0.02,
    )
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    half = len(all_examples(engine, project_id))
    assert 0 < half < 30_000, "the worker was too quick to be killed in the middle"
    _expire(engine, import_id)
    run_import(engine, storage, import_id, "test", MANY)
    entry = find(engine, project_id, import_id)
    assert entry.report is not None
    assert (entry.report["added"], entry.report["duplicates"]) == (30_000, 0)
    assert len(all_examples(engine, project_id)) == 30_000


def test_a_third_broken_attempt_is_the_last(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = upload(engine, storage, project_id, TABLE)
    for _ in range(3):
        with transaction(engine) as session:
            assert claim(
                session,
                Import,
                import_id,
                owner="dies",
                claimable=["uploaded", "inspecting"],
                values={"status": "inspecting"},
            )
        _expire(engine, import_id)
    inspect_import(engine, storage, import_id, "test")
    entry = find(engine, project_id, import_id)
    assert entry.status == ImportStatus.FAILED
    assert entry.problem is not None
    assert "three times" in entry.problem["what"]


def test_a_deleted_import_stops_its_worker(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    with transaction(engine) as session:
        service.delete_import(session, storage, project_id, import_id)
    run_import(engine, storage, import_id, "test", MANY)
    assert all_examples(engine, project_id) == []
    assert not storage.path("uploads", import_id).exists()


def test_waiting_imports_are_found_by_the_sweeper(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    uploaded = upload(engine, storage, project_id, TABLE)
    waiting = confirmed(engine, storage, project_id, TABLE)
    imported(engine, storage, project_id, TABLE)
    with transaction(engine, read_only=True) as session:
        assert sorted(pending_imports(session)) == sorted(
            [(INSPECT_IMPORT, uploaded), (IMPORT_EXAMPLES, waiting)]
        )


def test_a_choice_is_taken_once(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    entry = find(engine, project_id, import_id)
    assert entry.understood is not None
    with transaction(engine) as session, pytest.raises(ImportNotWaitingError):
        service.confirm_import(session, project_id, import_id, proposed_mapping(entry.understood))


def test_what_nobody_foresaw_ends_with_a_sentence(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    with transaction(engine) as session:
        entry = session.get(Import, import_id)
        assert entry is not None
        entry.understood = {"written": "by a version of Tailor that is yet to come"}
    run_import(engine, storage, import_id, "test", MANY)
    entry = find(engine, project_id, import_id)
    assert entry.status == ImportStatus.FAILED
    assert entry.problem is not None
    assert "inside Tailor" in entry.problem["what"]


def test_an_upload_is_written_down_once(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    import_id = upload(engine, storage, project_id, TABLE.encode())
    with transaction(engine) as session:
        again = service.register_upload(
            session, project_id=project_id, user_id="", import_id=import_id, file_name="x", size=1
        )
        assert again.id == import_id
        assert service.count_imports(session, project_id) == 1


_LOCK_HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(4)
"""


def test_the_database_is_away_for_a_while(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite: another process holds the write lock for longer than the busy timeout."""
    monkeypatch.setattr("app.database.engine.SQLITE_BUSY_TIMEOUT_SECONDS", 1)
    assert PATIENCE_SECONDS >= 60
    engine = databases.migrated_engine(databases.sqlite_url(tmp_path))
    project_id = new_project(engine)
    import_id = confirmed(engine, storage, project_id, TABLE)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _LOCK_HOLDER,
            str(tmp_path / "tailor.sqlite"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    run_import(engine, storage, import_id, "test", MANY)
    holder.wait()
    entry = find(engine, project_id, import_id)
    assert entry.report is not None
    assert entry.report["added"] == 1_200
    engine.dispose()
