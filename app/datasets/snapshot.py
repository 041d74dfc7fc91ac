"""Freeze a project's examples for a run: files that no later edit touches."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.datasets.content import ExampleTexts
from app.datasets.repository import ExampleRepository
from app.datasets.split import choose_held_out, split_key
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


def freeze(session: Session, project_id: str, folder: Path) -> Snapshot:
    """Write the examples into folder/data, in constant memory.

    The same examples give the same bytes. The digest is written last: where it is missing, the
    snapshot is not whole.
    """
    data = folder / DATA_FOLDER
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / DIGEST_FILE).unlink(missing_ok=True)
    examples = ExampleRepository(session)
    held_out = choose_held_out(_keys(examples, project_id), examples.count(project_id))
    digest = hashlib.sha256()
    train_count = 0
    held_out_lines: list[bytes] = []
    with durable_file(data / TRAIN_FILE) as train:
        for example in examples.stream(project_id):
            line = _line(example)
            if example_key(example) in held_out:
                held_out_lines.append(line)
            else:
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


def example_key(example: ExampleTexts) -> str:
    """The split key: all that was asked, or the passage itself."""
    if not example.question:
        return split_key(example.answer)
    earlier = [turn["content"] for turn in example.earlier_turns or () if turn["role"] == "user"]
    return split_key("\n".join([*earlier, example.question]))


def as_line(example: ExampleTexts) -> dict[str, Any]:
    """An example as training reads it."""
    if not example.question:
        return {"id": example.id, "text": example.answer}
    messages = list(example.earlier_turns or ())
    if example.instructions:
        messages.insert(0, {"role": "system", "content": example.instructions})
    messages.append({"role": "user", "content": example.question})
    messages.append({"role": "assistant", "content": example.answer})
    return {"id": example.id, "messages": messages}


def _keys(examples: ExampleRepository, project_id: str) -> Iterator[str]:
    return (example_key(example) for example in examples.stream(project_id))


def _line(example: ExampleTexts) -> bytes:
    # JSONB does not keep the order of keys, so they are sorted.
    text = json.dumps(as_line(example), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f"{text}\n".encode()
