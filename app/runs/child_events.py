"""What the training process says, one JSON object a line, checked before anything believes it.

The process reads models and examples that came from elsewhere. So its words are data like any
other: sizes are bounded, and what no database can store (NUL, lone surrogates, numbers that are not
finite) is taken out.
"""

import json
import math
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from app.datasets.shapes import MOST_KINDS
from app.runs.method_spec import Quantization

LONGEST_LINE_BYTES: Final = 1024 * 1024


def _clean(limit: int) -> BeforeValidator:
    def clean(value: object) -> object:
        if not isinstance(value, str):
            return value
        storable = value[:limit].replace("\x00", "\N{REPLACEMENT CHARACTER}")
        return storable.encode("utf-8", "replace").decode()

    return BeforeValidator(clean)


def _only_finite(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {
        name: number
        for name, number in value.items()
        if isinstance(number, int | float) and math.isfinite(number)
    }


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sentence = Annotated[str, _clean(2_000)]
LongText = Annotated[str, _clean(20_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Step = Annotated[int, Field(ge=0, le=2**31 - 1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
KindName = Annotated[str, _clean(200)]
KindNumber = Annotated[int, Field(ge=0, lt=MOST_KINDS)]
Confused = tuple[KindNumber, KindNumber, Count]


class ChildEvent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Phase(StrEnum):
    LOADING_DATA = "loading_data"
    LOADING_MODEL = "loading_model"
    MEASURING_BASE = "measuring_base"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


class PhaseEvent(ChildEvent):
    event: Literal["phase"]
    phase: Phase
    message: Sentence = ""


class PlanEvent(ChildEvent):
    event: Literal["plan"]
    total_steps: Step
    total_epochs: Count
    train_examples: Count
    validation_examples: Count
    train_tokens: Count
    examples_cut: Count = 0
    examples_left_out: Count = 0
    held_out_left_out: Count = 0
    """Of those that are left out so many were to be held out."""
    steps_per_epoch: Count
    resumed_from_step: Step = 0


class ProgressEvent(ChildEvent):
    event: Literal["progress"]
    step: Step
    total_steps: Step
    epoch: Number = 0.0
    tokens_per_second: Number | None = None
    seconds_left: Number | None = None
    memory_bytes: Count | None = None


class MetricsEvent(ChildEvent):
    event: Literal["metrics"]
    step: Step
    values: Annotated[dict[Name, Number], BeforeValidator(_only_finite), Field(max_length=50)]


class SampleEvent(ChildEvent):
    event: Literal["sample"]
    step: Step
    position: Annotated[int, Field(ge=0, le=9)]
    question: LongText
    expected: LongText
    base_answer: LongText
    answer: LongText


class CheckpointEvent(ChildEvent):
    event: Literal["checkpoint"]
    step: Step
    folder: Name
    manifest_sha256: Digest
    is_best: bool = False


class LogEvent(ChildEvent):
    event: Literal["log"]
    level: Name = "info"
    message: Sentence


class ShareEvent(ChildEvent):
    """How much of the reading of the examples is done."""

    event: Literal["share"]
    phase_share: Annotated[float, Field(ge=0, le=1)]
    seconds_left: Number | None = None


class MemoryEvent(ChildEvent):
    """Memory ran short, and this is what was done about it."""

    event: Literal["memory"]
    note: Sentence


class Ending(StrEnum):
    """Why a run that succeeded learned no more."""

    PLANNED = "planned"
    """All of its updates were made."""
    ASKED = "asked"
    """A person wanted the best of what it had learned so far."""
    NO_BETTER = "no_better"
    """The held-out loss had not fallen for as many evaluations as the recipe's patience."""


class Recall(BaseModel):
    """What became of a few training questions; what it means is said by app/runs/recall.py."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    asked: Annotated[int, Field(ge=0, le=100)]
    alike: Annotated[int, Field(ge=0, le=100)]
    """Of these the tuned model answers so many as the base model does."""
    right: Annotated[int, Field(ge=0, le=100)] = 0
    """To so many of them the base model gave the example's own answer."""
    loss_before: Number | None = None
    loss_after: Number | None = None


class ResultEvent(ChildEvent):
    event: Literal["result"]
    loss_before: Number | None = None
    loss_at_start: Number | None = None
    """The held-out loss of the version that the run went on from."""
    loss_after: Number | None = None
    right_before: Share | None = None
    """The share of held-out examples that come out right, where there is a right and wrong."""
    right_after: Share | None = None
    kinds: Annotated[list[KindName], Field(max_length=MOST_KINDS)] = []
    """The names of the kinds that texts are sorted into, in the order of their numbers."""
    confusion: Annotated[list[Confused], Field(max_length=20_000)] = []
    """The kind of a held-out text, what it was taken for, and how often that happened."""
    train_loss: Number | None = None
    best_step: Step
    steps: Step
    epochs: Number
    """Passes over the examples that were really made; a part of one counts as that part."""
    planned_steps: Step | None = None
    ending: Ending = Ending.PLANNED
    tokens_seen: Count
    seconds: Number
    """All of it, the evaluations included."""
    evaluation_seconds: Number = 0.0
    evaluations: Count = 0
    peak_memory_bytes: Count | None = None
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """On how many it learned at its end."""
    held_as: Quantization | None = None
    """The form in which the base model was held in the end; fewer bits than the recipe says where
    memory ran short."""
    adapter_folder: Annotated[str, StringConstraints(pattern=r"^\.adapter-[0-9]{1,9}$")]
    adapter_sha256: Digest
    adapter_bytes: Count
    examples_cut: Count = 0
    examples_left_out: Count = 0
    recall: Recall | None = None


class FailureEvent(ChildEvent):
    event: Literal["failure"]
    code: Name
    reason: Sentence
    next_step: Sentence
    details: LongText = ""
    permanent: bool = True
    fitting_tokens: Count | None = None
    """How long a row may be so that it fits into memory, where that was found out."""
    untried_tokens: Count | None = None
    """How long a row could be next, where no length could be tried."""


class StoppedEvent(ChildEvent):
    """It was asked to stop, by whomever, and has saved."""

    event: Literal["stopped"]


class RestartedEvent(ChildEvent):
    """What was saved cannot be gone on from, so everything so far counts no longer."""

    event: Literal["restarted"]


AnyChildEvent = Annotated[
    PhaseEvent
    | PlanEvent
    | ProgressEvent
    | MetricsEvent
    | SampleEvent
    | CheckpointEvent
    | LogEvent
    | MemoryEvent
    | ShareEvent
    | ResultEvent
    | FailureEvent
    | StoppedEvent
    | RestartedEvent,
    Field(discriminator="event"),
]
_adapter: Final[TypeAdapter[AnyChildEvent]] = TypeAdapter(AnyChildEvent)


class UnreadableEventError(Exception):
    """A line of the training process is not an event; the text says why."""


def read_event(line: bytes) -> AnyChildEvent:
    """Read one line.

    Raises:
        UnreadableEventError: if it is none of the events above.
    """
    try:
        return _adapter.validate_python(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise UnreadableEventError(_shortly(error)) from error


def _shortly(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems: list[Any] = list(error.errors(include_url=False, include_input=False))
        return "; ".join(f"{problem['loc']}: {problem['msg']}" for problem in problems[:3])
    return str(error)[:200]
