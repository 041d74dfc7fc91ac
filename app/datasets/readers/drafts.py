"""Records and a mapping become drafts of examples, or rows that are left out with a reason."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from app.datasets.readers.conversations import (
    NoExampleError,
    Turn,
    read_conversation,
    read_history,
)
from app.datasets.readers.html_text import without_html
from app.datasets.readers.limits import MAX_EXAMPLE_CHARACTERS
from app.datasets.readers.passages import split_passage
from app.datasets.readers.preferences import (
    holds_turns,
    read_answered,
    read_rejected,
    read_thumb,
)
from app.datasets.readers.records import ColumnRole, Item, LeftOut, Reason, Record, shortened
from app.datasets.readers.survey import as_text, is_filled
from app.datasets.readers.text_stream import has_broken_character
from app.datasets.shapes import LONGEST_KIND


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
    rejected: str = ""
    is_liked: bool | None = None
    is_label: bool = False


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
        yield _left_out(item, mapping, nothing.reason)


def _drafts(record: Record, mapping: Mapping) -> Iterator[Draft]:
    by_role: dict[ColumnRole, list[Any]] = {}
    for role, value in zip(mapping.roles, record.values, strict=False):
        text = without_html(value) if mapping.strips_html else value
        by_role.setdefault(role, []).append(text)
    instructions = _joined(by_role.get(ColumnRole.INSTRUCTIONS, []))
    conversation = by_role.get(ColumnRole.CONVERSATION, [None])[0]
    # A file may hold conversations in some rows, and a question with its answer in others.
    if conversation or (ColumnRole.CONVERSATION in by_role and ColumnRole.ANSWER not in by_role):
        yield _from_conversation(record.row, conversation, instructions)
        return
    structured = [
        value
        for role in (ColumnRole.QUESTION, ColumnRole.ANSWER)
        for value in by_role.get(role, [])
        if holds_turns(value)
    ]
    if structured:
        yield _with_judgement(_from_turns(record.row, by_role, instructions), by_role)
        return
    if ColumnRole.PASSAGE in by_role:
        text = _joined(by_role[ColumnRole.PASSAGE])
        if not text:
            raise NoExampleError(Reason.EMPTY_ROW)
        yield from (Draft(record.row, piece) for piece in split_passage(text))
        return
    question = _joined(by_role.get(ColumnRole.QUESTION, []))
    if ColumnRole.KIND in by_role:
        yield _labelled(record.row, question, _joined(by_role[ColumnRole.KIND]))
        return
    answer = _joined(by_role.get(ColumnRole.ANSWER, []))
    if not question or not answer:
        raise NoExampleError(_why_empty(question, answer))
    earlier = [
        turn for value in by_role.get(ColumnRole.EARLIER, []) for turn in read_history(value)
    ]
    draft = Draft(record.row, answer, question, instructions, earlier)
    yield _with_judgement(draft, by_role)


def _labelled(row: int, text: str, kind: str) -> Draft:
    kind = " ".join(kind.split())
    if not text:
        raise NoExampleError(Reason.EMPTY_QUESTION if kind else Reason.EMPTY_ROW)
    if not kind:
        raise NoExampleError(Reason.EMPTY_KIND)
    if len(kind) > LONGEST_KIND:
        raise NoExampleError(Reason.LONG_KIND)
    return Draft(row, kind, text, is_label=True)


def _from_turns(row: int, by_role: dict[ColumnRole, list[Any]], instructions: str) -> Draft:
    """Read a row whose question, answer or both are messages, as preference files have them."""
    prompt = by_role.get(ColumnRole.QUESTION, [None])[0]
    answer = by_role.get(ColumnRole.ANSWER, [None])[0]
    found = read_answered(prompt, answer)
    rejected = ""
    if ColumnRole.REJECTED in by_role:
        rejected = read_rejected(prompt, by_role[ColumnRole.REJECTED][0], found)
    joined = "\n\n".join(filter(None, [instructions, found.instructions]))
    return Draft(row, found.answer, found.question, joined, found.earlier, rejected)


def _with_judgement(draft: Draft, by_role: dict[ColumnRole, list[Any]]) -> Draft:
    """Add what people think of the answer: a second one that they like less, or a thumb."""
    if ColumnRole.REJECTED in by_role and not draft.rejected:
        rejected = _joined(by_role[ColumnRole.REJECTED])
        if not rejected:
            raise NoExampleError(Reason.NO_SECOND_ANSWER)
        if rejected == draft.answer:
            raise NoExampleError(Reason.SAME_ANSWERS)
        return replace(draft, rejected=rejected)
    if ColumnRole.THUMB in by_role:
        return replace(draft, is_liked=read_thumb(_joined(by_role[ColumnRole.THUMB])))
    return draft


def _from_conversation(row: int, value: Any, instructions: str) -> Draft:  # noqa: ANN401
    if not is_filled(value):
        raise NoExampleError(Reason.EMPTY_ROW)
    found = read_conversation(value)
    joined = "\n\n".join(filter(None, [instructions, found.instructions]))
    return Draft(row, found.answer, found.question, joined, found.earlier)


def _fault_of(draft: Draft) -> Reason | None:
    texts = [draft.answer, draft.question, draft.instructions, draft.rejected]
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


def _left_out(record: Record, mapping: Mapping, reason: Reason) -> LeftOut:
    """Leave a row out and show what stands in its columns."""
    if reason is Reason.EMPTY_ROW and any(map(is_filled, record.values)):
        return LeftOut(record.row, _shown(record.values), Reason.NOTHING_CHOSEN)
    used = [
        value
        for role, value in zip(mapping.roles, record.values, strict=False)
        if role is not ColumnRole.IGNORE
    ]
    return LeftOut(record.row, _shown(used), reason)


def _shown(values: list[Any]) -> str:
    return shortened(" | ".join(as_text(value)[:400] for value in values if value))
