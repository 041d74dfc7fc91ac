"""The frozen examples of a run, read line by line so that memory does not grow with them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from app.runs.recipe import Recipe
from worker.training import failures

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
_CHUNK_BYTES = 1024 * 1024


class Message(TypedDict):
    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """A conversation whose assistant turns are learned, or a passage that is learned whole."""

    messages: tuple[Message, ...] = ()
    text: str = ""


def data_file(run_folder: Path, split: Split) -> Path:
    return run_folder / "data" / f"{split}.jsonl"


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a file; a file that is not there holds none."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.strip():
                continue
            entry = json.loads(line)
            if "messages" in entry:
                yield Example(
                    messages=tuple(
                        Message(role=message["role"], content=message["content"])
                        for message in entry["messages"]
                    )
                )
            else:
                yield Example(text=entry["text"])


def check_data(run_folder: Path, recipe: Recipe) -> None:
    """Refuse examples that are not those which were frozen for this run.

    Raises:
        TrainingFailureError: if a file was changed, cut off or lost.
    """
    found = data_sha256(run_folder)
    if found != recipe.snapshot_sha256:
        raise failures.data_changed(f"SHA-256 {found}, expected {recipe.snapshot_sha256}")


def data_sha256(run_folder: Path) -> str:
    """Return the SHA-256 over the bytes of all splits, in their order, as they were frozen."""
    digest = hashlib.sha256()
    for split in SPLITS:
        path = data_file(run_folder, split)
        if path.exists():
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()
