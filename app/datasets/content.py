"""What makes two examples the same."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Protocol

from app.datasets.readers.records import without_lone_surrogates

Turn = dict[str, str]


class ExampleTexts(Protocol):
    """The texts of an example in the database, whether read as a row or as an object."""

    @property
    def id(self) -> int: ...
    @property
    def instructions(self) -> str: ...
    @property
    def earlier_turns(self) -> list[Turn] | None: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...


@dataclass(frozen=True, slots=True)
class NewExample:
    """An example that is not in the database yet."""

    answer: str
    question: str = ""
    """Empty for a passage, which is learned as a whole."""
    instructions: str = ""
    earlier_turns: list[Turn] = field(default_factory=list)
    row_number: int | None = None
    import_id: str | None = None

    @property
    def content_hash(self) -> str:
        return content_hash(self.instructions, self.earlier_turns, self.question, self.answer)


def content_hash(
    instructions: str, earlier_turns: list[Turn] | None, question: str, answer: str
) -> str:
    """Return the SHA-256 over all texts; an exact copy has the same."""
    turns = [[turn["role"], turn["content"]] for turn in earlier_turns or ()]
    canonical = json.dumps([instructions, turns, question, answer], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def cleaned(text: str) -> str:
    """A text as the database can hold it and a person meant it."""
    without_zero = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return without_lone_surrogates(without_zero).strip()
