"""The table of a sweep: what the rules choose beside the best that was found.

A loss is the negative logarithm of the probability that the model gives to a right token. Near 0
its own ratio says nothing (0.006 is 20 % more than 0.005, and both give the right token more than
99 % of the probability), so two ratios stand in the table: of the losses, and of the probabilities,
which is exp(best loss - chosen loss). "Within 3 %" means that one of them is; which one, is seen.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.preset_sweep.design import Result, mean_loss
from benchmarks.preset_sweep.trial import Settings, Trial

WITHIN: Final = 0.03
_HEADINGS: Final = (
    *("base model", "examples", "learned / held out", "trainings", "base", "rules choose", "loss"),
    *("best found", "loss", "loss ratio", "probability ratio", "within 3 %"),
)


@dataclass(frozen=True)
class Comparison:
    """The rules' choice of a case beside the best of its sweep; losses are means over seeds."""

    chosen: Trial
    base_loss: float
    chosen_loss: float
    chosen_seeds: int
    best: Trial
    best_loss: float
    best_seeds: int
    trials: int
    train_rows: int
    held_out_rows: int

    @property
    def loss_ratio(self) -> float:
        return self.chosen_loss / self.best_loss

    @property
    def probability_ratio(self) -> float:
        return math.exp(self.best_loss - self.chosen_loss)

    @property
    def is_within(self) -> bool:
        return self.loss_ratio <= 1 + WITHIN or self.probability_ratio >= 1 - WITHIN


def compare(chosen: Trial, results: Sequence[Result]) -> Comparison | None:
    """Compare, or return None where the rules' choice has not been trained.

    Among settings, those with more seeds count first: the best of many single runs is partly luck.
    """
    chosen_loss, chosen_seeds = mean_loss(chosen, results)
    if not chosen_seeds:
        return None
    means = [(*mean_loss(result.trial, results), result.trial) for result in results]
    seeds = max(count for _, count, _ in means)
    best_loss, best_seeds, best = min(
        (entry for entry in means if entry[1] == seeds), key=lambda entry: entry[0]
    )
    figures = results[0].figures
    return Comparison(
        chosen,
        float(figures["before"]),
        chosen_loss,
        chosen_seeds,
        best,
        best_loss,
        best_seeds,
        len(results),
        int(figures["train_rows"]),
        int(figures["held_out_rows"]),
    )


def markdown(comparisons: Iterable[Comparison]) -> str:
    lines = [_row(_HEADINGS), _row("---" for _ in _HEADINGS)]
    lines += [_row(_cells(comparison)) for comparison in comparisons]
    return "\n".join(lines)


def _cells(comparison: Comparison) -> Iterator[str]:
    chosen, best = comparison.chosen, comparison.best
    yield chosen.model
    yield chosen.case
    yield f"{comparison.train_rows:,} / {comparison.held_out_rows}"
    yield str(comparison.trials)
    yield f"{comparison.base_loss:.3f}"
    yield _in_words(chosen.settings)
    yield _loss(comparison.chosen_loss, comparison.chosen_seeds)
    yield "the same" if best.settings == chosen.settings else _in_words(best.settings)
    yield _loss(comparison.best_loss, comparison.best_seeds)
    yield f"{comparison.loss_ratio:.2f}"
    yield f"{comparison.probability_ratio:.3f}"
    yield "yes" if comparison.is_within else "**no**"


def _in_words(settings: Settings) -> str:
    words = (
        f"{settings.learning_rate:g}, rank {settings.rank}, {settings.epochs} epochs, "
        f"{settings.examples_per_update} at a time"
    )
    others = [
        f"{name.replace('_', ' ')} {getattr(settings, name):g}"
        for name in ("weight_decay", "dropout")
        if getattr(settings, name)
    ]
    return ", ".join([words, *others])


def _loss(loss: float, seeds: int) -> str:
    return f"{loss:.4f} ({seeds} seed{'s' if seeds > 1 else ''})"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
