"""An answer on its way: what is asked for, and what is known of it at one moment."""

from dataclasses import dataclass
from typing import Literal

from app.chat.engine import KindShare, Question, Stamp, WaitingState

Side = Literal["tuned", "base"]
LiveState = WaitingState | Literal["waiting", "writing", "done"]


@dataclass(frozen=True)
class ReplyKey:
    turn_id: str
    side: Side


@dataclass(frozen=True)
class ReplyPlan:
    """An answer to be asked for.

    Attributes:
        model_name: what people call the model, for the stamp.
    """

    key: ReplyKey
    conversation_id: str
    attempt: int
    question: Question
    model_name: str


@dataclass(frozen=True)
class Snapshot:
    """What is known of an answer at one moment."""

    state: LiveState = "waiting"
    text: str = ""
    status: str = ""
    """complete, length, stopped, cut or failed; empty until it is done."""
    stamp: Stamp | None = None
    problem: dict[str, str] | None = None
    seconds: float = 0.0
    kinds: tuple[KindShare, ...] = ()
