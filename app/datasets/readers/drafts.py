"""Records and a mapping become drafts of examples, or rows that are left out with a reason."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from app.datasets.readers.conversations import (
    NoExampleError,
    Turn,
    read_conversation,
    read_history,
)
from app.datasets.readers.html_text import text_of_html
from app.datasets.readers.limits import MAX_EXAMPLE_CHARACTERS
from app.datasets.readers.passages import split_passage
from app.datasets.readers.records import ColumnRole, Item, LeftOut, Reason, Record, shortened
from app.datasets.readers.survey import as_text
from app.datasets.readers.text_stream import has_broken_character


@dataclass(frozen=True, slots=True)
class Mapping:
    """What each column is for, as the maker confirmed it."""

    roles: list[ColumnRole]
    has_header: bool = True
    strips_html: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(
            [ColumnRole(role) for role in data["roles"]],
            bool(data["has_header"]),
            bool(data["strips_html"]),
        )


@dataclass(frozen=True, slots=True)
class Draft:
    row: int
    answer: str
    question: str = ""
    instructions: str = ""
    earlier: list[Turn] = field(default_factory=list)


def drafts_of(item: Item, mapping: Mapping) -> Iterator[Draft | LeftOut]:
    """Yield what becomes of a record: one draft, several pieces of a passage, or a reason."""
    if isinstance(item, LeftOut):
        yield item
        return
    try:
        # Of a long text that was split, one damaged piece does not spoil the others.
        for draft in _drafts(item, mapping):
            reason = _fault_of(draft)
            yield draft if reason is None else LeftOut(item.row, _shown_draft(draft), reason)
    except NoExampleError as nothing:
        yield LeftOut(item.row, _shown(item, mapping), nothing.reason)


def _drafts(record: Record, mapping: Mapping) -> Iterator[Draft]:
    by_role: dict[ColumnRole, list[Any]] = {}
    for role, value in zip(mapping.roles, record.values, strict=False):
        by_role.setdefault(role, []).append(value)
    instructions = _joined(by_role.get(ColumnRole.INSTRUCTIONS, []))
    conversation = by_role.get(ColumnRole.CONVERSATION, [None])[0]
    # A file may hold conversations in some rows, and a question with its answer in others.
    if conversation or (ColumnRole.CONVERSATION in by_role and ColumnRole.ANSWER not in by_role):
        yield _from_conversation(record.row, conversation, instructions)
        return
    clean = text_of_html if mapping.strips_html else str
    if ColumnRole.PASSAGE in by_role:
        text = clean(_joined(by_role[ColumnRole.PASSAGE]))
        if not text:
            raise NoExampleError(Reason.EMPTY_ROW)
        yield from (Draft(record.row, piece) for piece in split_passage(text))
        return
    question = clean(_joined(by_role.get(ColumnRole.QUESTION, [])))
    answer = clean(_joined(by_role.get(ColumnRole.ANSWER, [])))
    if not question or not answer:
        raise NoExampleError(_why_empty(question, answer))
    earlier = [
        turn for value in by_role.get(ColumnRole.EARLIER, []) for turn in read_history(value)
    ]
    yield Draft(record.row, answer, question, instructions, earlier)


def _from_conversation(row: int, value: Any, instructions: str) -> Draft:  # noqa: ANN401
    found = read_conversation(value)
    joined = "\n\n".join(filter(None, [instructions, found.instructions]))
    return Draft(row, found.answer, found.question, joined, found.earlier)


def _fault_of(draft: Draft) -> Reason | None:
    texts = [draft.answer, draft.question, draft.instructions]
    texts += [turn["content"] for turn in draft.earlier]
    if sum(map(len, texts)) > MAX_EXAMPLE_CHARACTERS:
        return Reason.TOO_LONG
    if any(has_broken_character(text) for text in texts):
        return Reason.BROKEN_CHARACTER
    return None


def _why_empty(question: str, answer: str) -> Reason:
    if question:
        return Reason.EMPTY_ANSWER
    return Reason.EMPTY_QUESTION if answer else Reason.EMPTY_ROW


def _joined(values: list[Any]) -> str:
    texts = (as_text(value).replace("\x00", "").replace("\r\n", "\n").strip() for value in values)
    return "\n\n".join(filter(None, texts))


def _shown_draft(draft: Draft) -> str:
    return shortened(f"{draft.question} | {draft.answer}" if draft.question else draft.answer)


def _shown(record: Record, mapping: Mapping) -> str:
    used = [
        as_text(value)
        for role, value in zip(mapping.roles, record.values, strict=False)
        if role is not ColumnRole.IGNORE and value
    ]
    return shortened(" | ".join(text[:400] for text in used))
