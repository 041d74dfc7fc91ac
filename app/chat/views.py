"""A conversation as a page shows it: what was asked, and the newest answer of each side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.chat.live import LiveReply
from app.chat.replies import Side
from app.chat.tables import ChatReply, ChatTurn
from app.chat.thoughts import split_thoughts

SIDES: tuple[Side, ...] = ("base", "tuned")
_INTERRUPTED: Final = frozenset({"writing", "cut"})

Origin = Literal["as_asked", "other", "unsaid"]


@dataclass(frozen=True)
class EarlierAnswer:
    text: str
    model_name: str


@dataclass(frozen=True)
class ReplyView:
    """One side's answer to a question.

    Attributes:
        state: waiting, queued, loading, held, writing; complete, length, stopped, failed; or cut,
            if Tailor was restarted while it was being written.
        text: the answer without the thoughts before it.
        thought: what the model wrote before its answer, if it is one that does.
        origin: whether what answered is what was asked, is something else, or was not said.
    """

    side: Side
    name: str
    state: str
    text: str = ""
    thought: str = ""
    model_name: str = ""
    base_fingerprint: str = ""
    adapter_sha256: str | None = None
    seconds: float | None = None
    turns_left_out: int = 0
    problem: dict[str, str] | None = None
    earlier: Sequence[EarlierAnswer] = ()
    origin: Origin = "as_asked"
    kinds: Sequence[Mapping[str, Any]] = ()
    """Of a text that was sorted: kind and score each, the surest first."""

    @property
    def is_live(self) -> bool:
        return self.state in {"waiting", "queued", "loading", "held", "writing"}


@dataclass(frozen=True)
class TurnView:
    id: str
    question: str
    replies: Sequence[ReplyView]
    is_last: bool = False

    @property
    def is_live(self) -> bool:
        return any(reply.is_live for reply in self.replies)

    @property
    def is_whole(self) -> bool:
        """Whether every side has given an answer, however short."""
        return all(reply.state in {"complete", "length"} for reply in self.replies)


@dataclass(frozen=True)
class Label:
    """One side of a conversation.

    Attributes:
        name: what people call it.
        model: its name on the chat server.
        adapter_sha256: of the files that the version was made with; None for a base model.
    """

    name: str
    model: str
    adapter_sha256: str | None = None


Labels = Mapping[Side, Label]
"""The sides that take part in a conversation."""


def turn_views(
    turns: Sequence[ChatTurn],
    replies: Sequence[ChatReply],
    live: Sequence[LiveReply],
    labels: Labels,
) -> list[TurnView]:
    """Put rows and running answers together, oldest question first."""
    written: dict[tuple[str, str], list[ChatReply]] = {}
    for reply in replies:
        written.setdefault((reply.turn_id, reply.side), []).append(reply)
    running = {(reply.plan.key.turn_id, reply.plan.key.side): reply for reply in live}
    views = []
    for turn in turns:
        sides = [
            _reply_view(
                side,
                labels.get(side),
                written.get((turn.id, side), []),
                running.get((turn.id, side)),
            )
            for side in SIDES
            if side in labels or (turn.id, side) in written
        ]
        views.append(TurnView(turn.id, turn.question, sides, is_last=turn is turns[-1]))
    return views


def _reply_view(
    side: Side, label: Label | None, written: list[ChatReply], running: LiveReply | None
) -> ReplyView:
    name = label.name if label else ""
    if running is not None and not _is_over(running, written):
        return _running_view(side, name, written, running)
    if not written:
        return ReplyView(side, name, "cut")
    newest = written[-1]
    thoughts = split_thoughts(newest.text)
    return ReplyView(
        side,
        name,
        "cut" if newest.status in _INTERRUPTED else newest.status,
        thoughts.answer,
        thoughts.thought,
        newest.model_name,
        newest.base_fingerprint,
        newest.adapter_sha256,
        newest.seconds,
        newest.turns_left_out,
        newest.problem,
        _earlier(written[:-1]),
        _origin(newest, label),
        newest.kinds or (),
    )


def _is_over(running: LiveReply, written: list[ChatReply]) -> bool:
    """Whether the row of a running answer has its end already."""
    if not written or written[-1].attempt < running.plan.attempt:
        return False
    return written[-1].status != "writing"


def _running_view(side: Side, name: str, written: list[ChatReply], running: LiveReply) -> ReplyView:
    snapshot = running.snapshot()
    thoughts = split_thoughts(snapshot.text)
    return ReplyView(
        side,
        name,
        # "done" lasts for the moment in which the row has been written but was not read here.
        "writing" if snapshot.state == "done" else snapshot.state,
        thoughts.answer,
        thoughts.thought,
        model_name=running.plan.model_name,
        earlier=_earlier([row for row in written if row.attempt < running.plan.attempt]),
    )


def _origin(reply: ChatReply, label: Label | None) -> Origin:
    """Compare what answered with what was asked, as far as the chat server said it."""
    if label is None or not reply.text:
        return "as_asked"
    if reply.served_model and reply.served_model != label.model:
        return "other"
    if label.adapter_sha256 is None:
        return "other" if reply.adapter_sha256 else "as_asked"
    if reply.adapter_sha256 is None:
        return "unsaid"
    return "as_asked" if reply.adapter_sha256 == label.adapter_sha256 else "other"


def _earlier(replies: list[ChatReply]) -> list[EarlierAnswer]:
    answers = [EarlierAnswer(split_thoughts(r.text).answer, r.model_name) for r in replies]
    return [answer for answer in answers if answer.text]
