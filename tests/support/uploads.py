"""Files as people upload them, through real child processes and a real database."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from app.database.session import transaction
from app.datasets import service
from app.datasets.importing import inspect_import, run_import
from app.datasets.mapping import proposed_mapping
from app.datasets.reader_process import inspect_file, read_file
from app.datasets.readers.drafts import Mapping
from app.datasets.tables import Example, Import
from app.datasets.uploads import IncomingFile
from app.projects.tables import Project
from app.storage.folders import Storage

MANY = 1_000_000


@dataclass
class ReadFile:
    """What a reader made of a file, with the proposal taken as it is."""

    understood: dict[str, Any]
    examples: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(example["question"], example["answer"]) for example in self.examples]

    @property
    def roles(self) -> list[str]:
        return [column["role"] for column in self.understood["columns"]]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row["row"], row["reason"]) for row in self.left_out]

    @property
    def notes(self) -> set[str]:
        return {note["code"] for note in self.understood["notes"]}


def read(folder: Path, content: bytes | str, mapping: Mapping | None = None) -> ReadFile:
    """Let the real reader process read a file of this content; its name says nothing."""
    path = folder / "source"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_path(path, mapping)


def read_path(path: Path, mapping: Mapping | None = None) -> ReadFile:
    result = ReadFile(inspect_file(path))
    chosen = mapping or proposed_mapping(result.understood)
    for batch in read_file(path, result.understood["plan"], chosen.as_json()):
        result.examples += batch["drafts"]
        result.left_out += batch["left_out"]
    return result


def json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def new_project(engine: Engine, name: str = "A project") -> str:
    with transaction(engine) as session:
        project = Project(name=name)
        session.add(project)
        session.flush()
        return project.id


def upload(
    engine: Engine, storage: Storage, project_id: str, content: bytes | str, name: str = "file.csv"
) -> str:
    """Put a file where the upload route puts it, and return the import's id."""
    data = content.encode() if isinstance(content, str) else content
    incoming = IncomingFile(storage, max_bytes=2 * 1024**3)
    with incoming:
        incoming.write(data)
        incoming.keep()
        with transaction(engine) as session:
            entry = Import(
                id=incoming.import_id, project_id=project_id, file_name=name, size_bytes=len(data)
            )
            session.add(entry)
    return incoming.import_id


def confirmed(
    engine: Engine, storage: Storage, project_id: str, content: bytes | str, name: str = "file.csv"
) -> str:
    """Upload, inspect and confirm the proposal; the import then waits for a worker."""
    import_id = upload(engine, storage, project_id, content, name)
    inspect_import(engine, storage, import_id, "test")
    entry = find(engine, project_id, import_id)
    assert entry.understood is not None, entry.problem
    with transaction(engine) as session:
        service.confirm_import(session, project_id, import_id, proposed_mapping(entry.understood))
    return import_id


def imported(
    engine: Engine,
    storage: Storage,
    project_id: str,
    content: bytes | str,
    limit: int = MANY,
    name: str = "file.csv",
) -> Import:
    """Take a file all the way and return its import."""
    import_id = confirmed(engine, storage, project_id, content, name)
    run_import(engine, storage, import_id, "test", limit)
    return find(engine, project_id, import_id)


def find(engine: Engine, project_id: str, import_id: str) -> Import:
    with transaction(engine, read_only=True) as session:
        return service.find_import(session, project_id, import_id)


def all_examples(engine: Engine, project_id: str) -> list[Example]:
    with transaction(engine, read_only=True) as session:
        statement = select(Example).where(Example.project_id == project_id).order_by(Example.id)
        return list(session.execute(statement).scalars())
