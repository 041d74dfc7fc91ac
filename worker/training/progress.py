"""Where a run stands: what a checkpoint remembers besides tensors, and how fast it goes."""

import math
import resource
import time
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

import torch

from app.runs.methods import Quantization
from worker.device_memory import resident_bytes
from worker.training.measured import Measured

_SPEED_WINDOW_SECONDS: Final = 10.0
_LEAST_SECONDS_BETWEEN_REPORTS: Final = 0.5


@dataclass
class RunState:
    """Everything that the rest of the run depends on, as plain data.

    Attributes:
        epoch: the epoch whose updates are under way, from 0.
        updates_done: how many updates of that epoch are done.
        evaluated_step: the last step at which held-out questions were asked.
        seconds: what learning and evaluating took so far.
        evaluation_seconds: the part of it that all evaluations took.
        epoch_loss: summed over the answer tokens of this epoch.
        span_loss: summed over the answer tokens since the last reported metrics.
        loss_at_start: the held-out loss of the version that the run goes on from.
        right_before: the share of held-out items that the base model gets right, if any can be.
        best_right: the same of the best state.
        best_confusion: of the best state, [kind, taken for, how often] each.
        evaluations_since_best: how many evaluations in a row brought no lower loss.
        held_as: the form in which the base model is held, in how few bits.
        memory_rung: how far the run went down because memory ran short, see memory.py.
    """

    step: int = 0
    epoch: int = 0
    updates_done: int = 0
    evaluated_step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    evaluations: int = 0
    epoch_loss: float = 0.0
    epoch_answers: int = 0
    last_epoch_loss: float = 0.0
    span_loss: float = 0.0
    span_answers: int = 0
    first_loss: float | None = None
    senseless_updates: int = 0
    loss_before: float | None = None
    loss_at_start: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    right_before: float | None = None
    best_right: float | None = None
    best_confusion: list[list[int]] = field(default_factory=list)
    evaluations_since_best: int = 0
    peak_memory_bytes: int = 0
    held_as: str = Quantization.NONE.value
    memory_rung: int = 0
    base_answers: list[str] = field(default_factory=list)

    def count_update(self, loss: float, answers: int, tokens: int, seconds: float) -> None:
        """Take note of one update: its mean loss over so many answer tokens, and what it took."""
        self.step += 1
        self.updates_done += 1
        self.tokens_seen += tokens
        self.seconds += seconds
        self.epoch_loss += loss * answers
        self.epoch_answers += answers
        self.span_loss += loss * answers
        self.span_answers += answers

    def end_epoch(self) -> None:
        """Begin the next pass over the examples."""
        self.epoch += 1
        self.updates_done = 0
        self.last_epoch_loss = self.epoch_loss / max(self.epoch_answers, 1)
        self.epoch_loss, self.epoch_answers = 0.0, 0

    def passes(self, updates_per_epoch: int) -> float:
        """Return how often it has gone through its examples."""
        return self.epoch + self.updates_done / updates_per_epoch

    @property
    def train_loss(self) -> float:
        """The mean loss over the last whole pass, or over what was seen of the first."""
        if self.epoch == 0:
            return self.epoch_loss / max(self.epoch_answers, 1)
        return self.last_epoch_loss

    def end_span(self) -> float:
        """Return the mean loss since the last point of the curve, and begin the next."""
        loss = self.span_loss / max(self.span_answers, 1)
        self.span_loss, self.span_answers = 0.0, 0
        return loss

    @property
    def seconds_per_evaluation(self) -> float:
        """What an evaluation takes, as far as it is known."""
        return self.evaluation_seconds / max(self.evaluations, 1)

    def note_evaluation(self, measured: Measured, seconds: float) -> None:
        """Take note of an evaluation; the best state so far is the one that will be kept."""
        self.seconds += seconds
        self.evaluation_seconds += seconds
        self.evaluations += 1
        if _is_lower(measured.loss, self.best_loss):
            self.note_best(measured)
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1
        self.evaluated_step = self.step

    def note_best(self, measured: Measured) -> None:
        """Take the state as it is now for the one that will be kept."""
        self.best_loss, self.best_step = measured.loss, self.step
        self.best_right = measured.right
        self.best_confusion = [
            [kind, found, count] for (kind, found), count in sorted(measured.confusion.items())
        ]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})


def _is_lower(loss: float, best: float | None) -> bool:
    """Compare two losses; one that is no number is never the best, and gives way to any."""
    if not math.isfinite(loss):
        return False
    return best is None or not math.isfinite(best) or loss < best


class Speedometer:
    """Tokens per second and time left, from the last few seconds of training alone."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._seconds = 0.0
        self._last_report = float("-inf")

    def add(self, seconds: float, tokens: int) -> None:
        self._steps.append((seconds, tokens))
        self._seconds += seconds
        while len(self._steps) > 1 and self._seconds - self._steps[0][0] > _SPEED_WINDOW_SECONDS:
            self._seconds -= self._steps.popleft()[0]

    @property
    def tokens_per_second(self) -> float:
        return sum(tokens for _, tokens in self._steps) / max(self._seconds, 1e-9)

    def seconds_left(self, steps_left: int) -> float:
        return steps_left * self._seconds / max(len(self._steps), 1)

    def report_is_due(self) -> bool:
        now = time.monotonic()
        if now - self._last_report < _LEAST_SECONDS_BETWEEN_REPORTS:
            return False
        self._last_report = now
        return True


def memory_bytes(device: torch.device) -> int:
    """Return the memory in use now, on the device that trains."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return resident_bytes() or peak_memory_bytes(device)


def peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
