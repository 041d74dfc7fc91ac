"""What to try next for a case, given what is known.

The full product of learning rate, rank, epochs and batch would be thousands of trainings. Instead
each round varies one of them from the best so far, as they hardly hide each other once the learning
rate is right; and because the best of many noisy figures is partly luck, whatever leads in the end
is trained again with another seed before it counts.

All is a pure function of the results, so a sweep that was broken off goes on where it was.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from benchmarks.preset_sweep.data import JsonObject
from benchmarks.preset_sweep.trial import Settings, Trial

SEEDS: Final = (42, 7)
_MOST_EPOCHS: Final = 40
_MOST_RANK: Final = 256


@dataclass(frozen=True)
class Result:
    trial: Trial
    figures: JsonObject

    @property
    def loss(self) -> float:
        """The held-out loss of the kept state; infinite where the training failed."""
        return float(self.figures.get("after") or float("inf"))


Round = Callable[[Settings], list[Settings]]


def next_trials(chosen: Trial, results: Sequence[Result], *, small: bool = False) -> list[Trial]:
    """Return the trials of the first round that is not complete; none when the sweep is done.

    Args:
        chosen: the rules' choice for the case, with the first seed.
        results: all that is known of this base model and case.
        small: only half and twice the learning rate and the epochs, for a nightly job.
    """
    known = {result.trial: result.loss for result in results}
    tried = [chosen]
    for vary in (_with_itself, *(_SMALL_ROUNDS if small else _ROUNDS)):
        leader = min(tried, key=lambda trial: known.get(trial, float("inf")))
        wanted = [replace(chosen, settings=settings) for settings in vary(leader.settings)]
        missing = [trial for trial in wanted if trial not in known]
        if missing:
            return missing
        tried += wanted
    leader = min(tried, key=lambda trial: known[trial])
    seconds = [replace(trial, seed=seed) for trial in (chosen, leader) for seed in SEEDS]
    return [trial for trial in dict.fromkeys(seconds) if trial not in known]


def mean_loss(trial: Trial, results: Iterable[Result]) -> tuple[float, int]:
    """Return the mean loss of a trial's settings over the seeds, and how many these are."""
    losses = [result.loss for result in results if result.trial.settings == trial.settings]
    return (fmean(losses) if losses else float("inf")), len(losses)


def _with_itself(leader: Settings) -> list[Settings]:
    return [leader]


def _learning_rates(*factors: float) -> Round:
    def vary(leader: Settings) -> list[Settings]:
        # Two digits, so that a rate reached in two ways is one rate.
        return [
            replace(leader, learning_rate=float(f"{leader.learning_rate * factor:.2g}"))
            for factor in factors
        ]

    return vary


def _ranks(leader: Settings) -> list[Settings]:
    ranks = (max(1, leader.rank // 4), min(_MOST_RANK, leader.rank * 4))
    return [replace(leader, rank=rank) for rank in ranks]


def _batches(leader: Settings) -> list[Settings]:
    now = leader.examples_per_update
    return [replace(leader, examples_per_update=count) for count in (max(1, now // 2), now * 2)]


def _epochs(leader: Settings) -> list[Settings]:
    counts = (max(1, leader.epochs // 2), min(_MOST_EPOCHS, leader.epochs * 2))
    return [replace(leader, epochs=count) for count in counts]


_SMALL_ROUNDS: Final = (_learning_rates(0.5, 2.0), _epochs)
# The best rate depends a little on the number of updates and of examples in each: once more.
_ROUNDS: Final = (
    _learning_rates(0.25, 0.5, 2.0, 4.0),
    _batches,
    _ranks,
    _epochs,
    _learning_rates(0.7, 1.4),
)
