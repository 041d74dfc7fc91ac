"""The frozen examples of a run, read line by line so that memory does not grow with them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

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
    """One line of a snapshot. Which fields are filled depends on what the run learns.

    Attributes:
        messages: a conversation; where answers are judged, all that was said before them.
        text: a passage that is learned whole, or what is to be sorted.
        answer: the answer that was judged; of two, the better one.
        rejected: the worse one.
        is_liked: the thumb of the answer.
        kind: the kind that the text belongs to.
    """

    messages: tuple[Message, ...] = ()
    text: str = ""
    answer: str = ""
    rejected: str = ""
    is_liked: bool = False
    kind: str = ""

    def answered(self, answer: str) -> list[Message]:
        """Return the conversation with an answer at its end."""
        return [*self.messages, Message(role="assistant", content=answer)]


def data_file(run_folder: Path, split: Split) -> Path:
    return run_folder / "data" / f"{split}.jsonl"


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a file; a file that is not there holds none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield parse_example(line)


def parse_example(text: bytes) -> Example:
    """Read one line of a file of examples."""
    line: dict[str, Any] = json.loads(text)
    messages = line.get("messages") or line.get("prompt") or ()
    return Example(
        messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in messages),
        text=line.get("text", ""),
        answer=line.get("chosen") or line.get("answer", ""),
        rejected=line.get("rejected", ""),
        is_liked=bool(line.get("liked", False)),
        kind=line.get("kind", ""),
    )


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
