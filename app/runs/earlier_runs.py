"""What earlier runs took, and what is learned from that about how long the next one will take.

The planner (planner.py) says how one training compares with another: in its method, its goal, its
data. How fast a device really is with a base model, earlier runs on it have measured. So what each
of them took is set beside what the planner says of that run's own work on such a device, and by
this factor the planner is corrected. Runs on another base model or kind of device do not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, Self

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.seconds import TrainingTime, training_time
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants
from app.runs.estimates import work_of
from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from app.runs.repository import Lengths, PastRun
from app.workers.device import DeviceFacts

# So many earlier runs, those most alike, are asked.
_ALIKE: Final = 3
# What took only some seconds proves little: it counts as if so many more had gone as foretold.
_AS_FORETOLD_SECONDS: Final = 5.0
# One run during which the machine stood still must not spoil what is said of the next. Where a
# trial measured, the planner is off by a third at most, and by a few times beside other work
# (docs/benchmarks.md); where it guesses, a fast card may well be twenty times as fast.
_MOST_OFF_IF_MEASURED: Final = 5.0
_MOST_OFF_IF_GUESSED: Final = 25.0


@dataclass(frozen=True)
class EarlierRun:
    """A run that is over: what it did, where, and the seconds that it took.

    Attributes:
        work: with the passes and evaluations that were really made, and rows of the real length.
        kind: of the device.
        device_name: of the one device that it learned on.
        learning: seconds of all its updates.
        evaluating: seconds of all its evaluations.
    """

    work: Work
    kind: str
    device_name: str
    learning: float
    evaluating: float

    @classmethod
    def of(cls, past: PastRun, lengths: Lengths) -> Self | None:
        """Return what a run tells; None if it measured nothing, or nobody knows its recipe now.

        Args:
            past: the run as its row says.
            lengths: of the examples that are learned from next. Those of the run are taken to be as
                uneven as they are; how long they were was measured.
        """
        result = past.result
        tokens, seconds = result.get("tokens_seen"), result.get("seconds")
        try:
            recipe = Recipe.model_validate(past.recipe)
            held_as = Quantization(result.get("held_as") or recipe.quantization)
        except ValueError:
            return None
        passes = float(result.get("epochs") or recipe.epochs)
        if not tokens or not seconds:
            return None
        evaluating = float(result.get("evaluation_seconds") or 0.0)
        planned = work_of(
            recipe, recipe.objective, lengths, past.train_count, past.validation_count
        )
        done = replace(
            _as_read(planned, passes, tokens),
            quantization=held_as,
            evaluations=int(result.get("evaluations") or 0),
        )
        return cls(
            work=done,
            kind=str(past.device.get("kind", "")),
            device_name=str(past.device.get("name", "")),
            learning=float(seconds) - evaluating,
            evaluating=evaluating,
        )

    def was_on(self, device: DeviceFacts | None) -> bool:
        """Say whether it learned on such a device; where none is there, any may come back."""
        return device is None or (
            self.kind == device.kind and self.device_name in {one.name for one in device.devices}
        )

    def is_like(self, work: Work) -> bool:
        """Say whether it learned in the same way, however much."""
        return _way(self.work) == _way(work)

    def distance(self, work: Work) -> float:
        """Return how far the two lie apart in what they read, in factors."""
        return abs(math.log(_tokens_read(self.work) / _tokens_read(work)))


@dataclass(frozen=True)
class Correction:
    """How many times as long as the planner says it takes on a device.

    Attributes:
        learning: whatever goes through the model to be learned from.
        evaluating: asking what is held out, and writing the answers that are shown.
    """

    learning: float = 1.0
    evaluating: float = 1.0

    @classmethod
    def by(
        cls,
        earlier: Sequence[EarlierRun],
        shape: TransformerShape,
        work: Work,
        device: DeviceFacts | None,
    ) -> Self:
        """Return what earlier runs on a base model teach about some work on a device."""
        comparable = [run for run in earlier if run.was_on(device)]
        # The planner is off by more in some methods than in others.
        comparable = [run for run in comparable if run.is_like(work)] or comparable
        alike = sorted(comparable, key=lambda run: run.distance(work))[:_ALIKE]
        constants = DeviceConstants.of(device)
        most = _MOST_OFF_IF_MEASURED if constants.is_measured else _MOST_OFF_IF_GUESSED
        said = [(run, training_time(shape, run.work, constants)) for run in alike]
        return cls(
            _middle([_factor(run.learning, time.learning, most) for run, time in said]),
            _middle(
                [
                    _factor(run.evaluating, time.evaluating, most)
                    for run, time in said
                    if run.work.evaluations
                ]
            ),
        )

    def seconds(self, time: TrainingTime) -> float:
        """Return how long all of a training takes for which the planner says this time."""
        return (
            time.around
            + self.learning * (time.beforehand + time.learning)
            + self.evaluating * time.evaluating
        )


def _as_read(planned: Work, passes: float, tokens: float) -> Work:
    """Return a run's work with the tokens and the passes that it really came to."""
    epochs = max(1, round(passes))
    examples = max(1, round(planned.examples * passes / epochs))
    row_tokens = tokens / (epochs * examples * planned.rows_per_example)
    longest = planned.longest_row * row_tokens / planned.row_tokens
    return replace(
        planned,
        row_tokens=row_tokens,
        longest_row=math.ceil(max(longest, row_tokens)),
        examples=examples,
        epochs=epochs,
    )


def _way(work: Work) -> tuple[object, ...]:
    return (work.method, work.objective, work.quantization)


def _tokens_read(work: Work) -> float:
    return work.epochs * work.examples * work.rows_per_example * max(work.row_tokens, 1.0)


def _factor(took: float, said: float, most: float) -> float:
    found = (took + _AS_FORETOLD_SECONDS) / (said + _AS_FORETOLD_SECONDS)
    return min(max(found, 1 / most), most)


def _middle(factors: Sequence[float]) -> float:
    return median(factors) if factors else 1.0
