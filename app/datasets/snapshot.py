"""Freeze a project's examples for a run: files that no later edit touches."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.datasets.repository import ExampleRepository
from app.datasets.shapes import (
    STRATIFIED,
    ExampleTexts,
    Line,
    Purpose,
    lines_for,
    shapes_for,
    stratum_of,
)
from app.datasets.split import choose_held_out, choose_held_out_of_each, split_key
from app.storage.durable import durable_file, sync_folder, write_atomically

DATA_FOLDER: Final = "data"
TRAIN_FILE: Final = "train.jsonl"
VALIDATION_FILE: Final = "validation.jsonl"
DIGEST_FILE: Final = "snapshot.sha256"


@dataclass(frozen=True)
class Snapshot:
    sha256: str
    """SHA-256 over the bytes of train.jsonl followed by those of validation.jsonl."""
    train_count: int
    validation_count: int


def freeze(
    session: Session, project_id: str, folder: Path, purpose: Purpose = Purpose.ANSWERS
) -> Snapshot:
    """Write the examples that serve a purpose into folder/data, in constant memory.

    The same examples give the same bytes. The digest is written last: where it is missing, the
    snapshot is not whole.
    """
    data = folder / DATA_FOLDER
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / DIGEST_FILE).unlink(missing_ok=True)
    usable = UsableExamples(session, project_id, purpose)
    held_out = usable.held_out_keys()
    digest = hashlib.sha256()
    train_count = 0
    held_out_lines: list[bytes] = []
    with durable_file(data / TRAIN_FILE) as train:
        for example in usable:
            lines = [_written(line) for line in lines_for(example, purpose)]
            if example_key(example) in held_out:
                held_out_lines += lines
                continue
            for line in lines:
                train.write(line)
                digest.update(line)
                train_count += 1
    with durable_file(data / VALIDATION_FILE) as validation:
        for line in held_out_lines:
            validation.write(line)
            digest.update(line)
    write_atomically(data / DIGEST_FILE, f"{digest.hexdigest()}\n".encode())
    sync_folder(data)
    sync_folder(folder)
    return Snapshot(digest.hexdigest(), train_count, len(held_out_lines))


class UsableExamples:
    """The examples of a project that serve a purpose, read afresh with each pass."""

    def __init__(self, session: Session, project_id: str, purpose: Purpose) -> None:
        self._examples = ExampleRepository(session)
        self._project_id = project_id
        self._purpose = purpose
        self._counts = self._examples.count_by_shape(project_id)
        self._shapes = shapes_for(purpose, self._counts)

    def __iter__(self) -> Iterator[ExampleTexts]:
        return self._examples.stream(self._project_id, self._shapes)

    def held_out_keys(self) -> frozenset[str]:
        """Return the split keys of those that are held out."""
        if self._purpose in STRATIFIED:
            strata = Counter(stratum_of(example, self._purpose) for example in self)
            keys = ((stratum_of(example, self._purpose), example_key(example)) for example in self)
            return choose_held_out_of_each(keys, strata)
        count = sum(self._counts.get(shape, 0) for shape in self._shapes)
        return choose_held_out(map(example_key, self), count)


def example_key(example: ExampleTexts) -> str:
    """The split key: all that was asked, or the passage itself."""
    if not example.question:
        return split_key(example.answer)
    earlier = [turn["content"] for turn in example.earlier_turns or () if turn["role"] == "user"]
    return split_key("\n".join([*earlier, example.question]))


def _written(line: Line) -> bytes:
    # JSONB does not keep the order of keys, so they are sorted.
    text = json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f"{text}\n".encode()
