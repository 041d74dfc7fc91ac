"""Fold what the training process says into few, short writes.

A process may say ten things a second; the database hears of them once a second, in one
transaction. What is only the present state (the progress) is overwritten, what is history is kept
in order.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from app.runs.child_events import (
    AnyChildEvent,
    CheckpointEvent,
    LogEvent,
    MemoryEvent,
    MetricsEvent,
    Phase,
    PhaseEvent,
    PlanEvent,
    ProgressEvent,
    RestartedEvent,
    SampleEvent,
    ShareEvent,
)
from app.runs.status import RunStatus, check_move

STATUS_OF_PHASE: Final = {
    Phase.LOADING_DATA: RunStatus.STARTING,
    Phase.LOADING_MODEL: RunStatus.STARTING,
    Phase.MEASURING_BASE: RunStatus.STARTING,
    Phase.TRAINING: RunStatus.TRAINING,
    Phase.EVALUATING: RunStatus.EVALUATING,
    Phase.SAVING: RunStatus.SAVING,
}

# A process that only chatters must not fill memory while the database is away.
_MOST_EVENTS: Final = 20_000


@dataclass
class Batch:
    """What is to be written: one transaction's worth."""

    values: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    metrics: dict[tuple[int, str], float] = field(default_factory=dict)
    samples: dict[tuple[int, int], SampleEvent] = field(default_factory=dict)
    checkpoints: dict[int, CheckpointEvent] = field(default_factory=dict)
    left_out: int = 0
    begins_anew: bool = False
    """What was written of the run's progress before this batch counts no longer."""

    @property
    def is_empty(self) -> bool:
        return not (self.values or self.events)


class Intake:
    """Takes events one by one and hands out batches."""

    def __init__(self, status: RunStatus) -> None:
        self.status = status
        self.batch = Batch()

    def take(self, event: AnyChildEvent) -> None:
        """Take one event. Results, failures and stops are not history: the supervisor has them.

        Raises:
            IllegalMoveError: if a phase comes where it cannot.
        """
        match event:
            case PhaseEvent():
                self._take_phase(event)
            case PlanEvent():
                plan = event.model_dump(exclude={"event"})
                self.batch.values |= {
                    "plan": plan,
                    "total_steps": event.total_steps,
                    "step": event.resumed_from_step,
                }
                self._remember("plan", plan)
            case ProgressEvent() | ShareEvent():
                self.batch.values |= event.model_dump(exclude={"event"})
            case MetricsEvent():
                for name, value in event.values.items():
                    self.batch.metrics[event.step, name] = value
                self._remember("metrics", event.model_dump(exclude={"event"}))
            case SampleEvent():
                self.batch.samples[event.step, event.position] = event
                self._remember("sample", {"step": event.step, "position": event.position})
            case CheckpointEvent():
                self.batch.checkpoints[event.step] = event
                self._remember("checkpoint", {"step": event.step, "is_best": event.is_best})
            case RestartedEvent():
                self.batch = Batch(
                    values=self.batch.values | {"step": 0, "epoch": 0.0},
                    events=self.batch.events,
                    left_out=self.batch.left_out,
                    begins_anew=True,
                )
            case LogEvent() | MemoryEvent():
                self._take_words(event)
            case _:
                return

    def hand_over(self) -> Batch:
        """Return what was gathered and begin anew."""
        batch, self.batch = self.batch, Batch()
        if batch.left_out:
            batch.events.append(("log", _left_out(batch.left_out)))
            batch.left_out = 0
        return batch

    def take_back(self, batch: Batch) -> None:
        """Put back what could not be written; what came since stands after it."""
        newer = self.batch
        if newer.begins_anew:
            batch = Batch(values=batch.values, events=batch.events, left_out=batch.left_out)
        self.batch = Batch(
            values=batch.values | newer.values,
            events=batch.events + newer.events,
            metrics=batch.metrics | newer.metrics,
            samples=batch.samples | newer.samples,
            checkpoints=batch.checkpoints | newer.checkpoints,
            left_out=batch.left_out + newer.left_out,
            begins_anew=batch.begins_anew or newer.begins_anew,
        )

    def _take_phase(self, event: PhaseEvent) -> None:
        status = STATUS_OF_PHASE[event.phase]
        check_move(self.status, status)
        self.status = status
        self.batch.values |= {
            "status": status,
            "phase": event.phase.value,
            "phase_message": event.message,
            "phase_share": None,
        }
        self._remember("phase", {"phase": event.phase.value, "message": event.message})

    def _take_words(self, event: LogEvent | MemoryEvent) -> None:
        if isinstance(event, MemoryEvent):
            self.batch.values["memory_note"] = event.note
            event = LogEvent(event="log", level="warning", message=event.note)
        self._remember("log", event.model_dump(exclude={"event"}))

    def _remember(self, kind: str, payload: dict[str, Any]) -> None:
        if len(self.batch.events) < _MOST_EVENTS:
            self.batch.events.append((kind, payload))
        else:
            self.batch.left_out += 1


def _left_out(count: int) -> dict[str, Any]:
    message = (
        f"{count:,} messages of the training process were left out here: there were too many to "
        "keep while the database did not answer. The training itself is not touched by this."
    )
    return {"level": "warning", "message": message}
