"""A conversation as a page shows it: what was asked, and the newest answer of each side."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.chat.live import LiveReply, Side
from app.chat.tables import ChatReply, ChatTurn

SIDES: tuple[Side, ...] = ("base", "tuned")


@dataclass(frozen=True)
class EarlierAnswer:
    text: str
    model_name: str


@dataclass(frozen=True)
class ReplyView:
    """One side's answer to a question.

    Attributes:
        state: waiting, loading, writing; complete, length, stopped, failed; or cut, if Tailor
            was restarted while it was being written.
        is_other_adapter: the adapter that answered is not the one that the version was made with.
    """

    side: Side
    name: str
    state: str
    text: str = ""
    model_name: str = ""
    base_fingerprint: str = ""
    adapter_sha256: str | None = None
    seconds: float | None = None
    turns_left_out: int = 0
    problem: dict[str, str] | None = None
    earlier: Sequence[EarlierAnswer] = ()
    is_other_adapter: bool = False

    @property
    def is_live(self) -> bool:
        return self.state in {"waiting", "loading", "writing"}


@dataclass(frozen=True)
class TurnView:
    id: str
    question: str
    replies: Sequence[ReplyView]
    is_last: bool = False

    @property
    def is_live(self) -> bool:
        return any(reply.is_live for reply in self.replies)


@dataclass(frozen=True)
class Labels:
    """What the two sides are called in this conversation, and which of them take part."""

    names: dict[Side, str]
    adapter_sha256: str | None = None
    sides: Sequence[Side] = field(default=SIDES)


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
                labels,
                written.get((turn.id, side), []),
                running.get((turn.id, side)),
            )
            for side in SIDES
            if side in labels.sides or (turn.id, side) in written
        ]
        views.append(TurnView(turn.id, turn.question, sides, is_last=turn is turns[-1]))
    return views


def _reply_view(
    side: Side, labels: Labels, written: list[ChatReply], running: LiveReply | None
) -> ReplyView:
    name = labels.names.get(side, "")
    if running is not None and (not written or written[-1].attempt < running.plan.attempt):
        snapshot = running.snapshot()
        return ReplyView(
            side,
            name,
            # "done" lasts for the moment in which the row has been written but was not read here.
            "writing" if snapshot.state == "done" else snapshot.state,
            snapshot.text,
            model_name=running.plan.model_name,
            earlier=_earlier(written),
        )
    if not written:
        return ReplyView(side, name, "cut")
    newest = written[-1]
    expected = labels.adapter_sha256 if side == "tuned" else None
    return ReplyView(
        side,
        name,
        newest.status,
        newest.text,
        newest.model_name,
        newest.base_fingerprint,
        newest.adapter_sha256,
        newest.seconds,
        newest.turns_left_out,
        newest.problem,
        _earlier(written[:-1]),
        is_other_adapter=newest.adapter_sha256 is not None and newest.adapter_sha256 != expected,
    )


def _earlier(replies: list[ChatReply]) -> list[EarlierAnswer]:
    return [EarlierAnswer(reply.text, reply.model_name) for reply in replies if reply.text]
