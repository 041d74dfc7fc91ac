"""What makes two examples the same."""

import hashlib
import json
from dataclasses import dataclass, field

from app.datasets.readers.records import without_lone_surrogates
from app.datasets.shapes import Shape, Turn


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
    rejected: str = ""
    """An answer to the same question that people like less."""
    is_liked: bool | None = None
    """The thumb that somebody gave the answer; None: nobody did."""
    is_label: bool = False
    """Whether the answer names the kind that the question belongs to."""

    @property
    def shape(self) -> Shape:
        if not self.question:
            return Shape.PASSAGE
        if self.is_label:
            return Shape.LABEL
        if self.rejected:
            return Shape.PAIR
        return Shape.ANSWER if self.is_liked is None else Shape.THUMB

    @property
    def content_hash(self) -> str:
        """The SHA-256 over all that it says; an exact copy has the same."""
        turns = [[turn["role"], turn["content"]] for turn in self.earlier_turns]
        parts: list[object] = [self.instructions, turns, self.question, self.answer]
        # Only where there is more, so that those of plain answers stay what they always were.
        if self.shape in {Shape.PAIR, Shape.THUMB, Shape.LABEL}:
            parts += [self.shape, self.rejected, self.is_liked]
        canonical = json.dumps(parts, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def cleaned(text: str) -> str:
    """A text as the database can hold it and a person meant it."""
    without_zero = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return without_lone_surrogates(without_zero).strip()
