"""The rules that choose step size, batch and passes, for people who will never look at them.

Few, smooth in what they depend on, and fitted to measurements (docs/benchmarks.md, "Presets"):

* **All of the data, in whole passes.** Never a fixed number of steps, whatever was uploaded.
* **Examples per update** double whenever the data quadruples, from 1 to 16. How much is learned
  depends first of all on the number of updates: 180 tickets were learned as well with 4 examples
  per update in 4 passes as with 8 in 8 passes, in two thirds of the time. With much data there are
  updates enough, and larger ones keep a graphics card busier.
* **Passes**: as many as bring the updates near a target for the preset, within a least and a most.
  Few examples need more passes; but a larger model knows 15 examples by heart after two or three.
  The best state is kept, so a pass too many costs time and not quality. A very
  small base model learns by rote what a larger one understands: of 900 questions with 77 kinds of
  answer, six passes left it half the loss that three did; of 2,900 four left two thirds of what two
  did; with 9,800 two were as good as four. So there "Balanced" makes six until they come to 900
  updates. To 135 million parameters three passes over the 900 gave all that six did.
* **The learning rate** falls with a power of the base model's size. The power law goes from what
  was best for 2.8 million parameters (between 4e-3 and 6e-3) to what the literature uses for 7
  thousand million (2e-4; Dettmers et al., QLoRA, 2023, who halve it for 33 thousand million, as
  the law does); at 135 million it says 1e-3, which was better there than 5e-4 and 2e-3 with one
  example per update.
* **Early stop**: Balanced looks five times at the held-out examples and Thorough ten times; after
  two and three looks in a row without a lower loss they end. Quick is over before it could get
  worse for long. These numbers are chosen, not measured.

Rank and learning rate do not depend on each other, because LoRA's alpha is the same for each rank
(app/runs/lora_methods.py).
"""

import math
from dataclasses import dataclass
from typing import Final

_MOST_EXAMPLES_PER_UPDATE: Final = 16
# Between the two sizes that were measured, 2.8 and 135 million.
_SMALL_PARAMETERS: Final = 30_000_000
_KNOWN_RATE: Final = 2e-4
_KNOWN_PARAMETERS: Final = 7_000_000_000
_RATE_EXPONENT: Final = 0.4
_HIGHEST_RATE: Final = 5e-3


def examples_per_update(train_count: int) -> int:
    """Return the power of two nearest to what the rule says, from 1 to 16."""
    doublings = max(0, round(math.log2(_exact_examples_per_update(train_count))))
    return min(_MOST_EXAMPLES_PER_UPDATE, 1 << doublings)


@dataclass(frozen=True)
class Effort:
    """How often a preset goes over the data.

    Attributes:
        updates: so many are aimed at with few examples, in as many passes as they take.
        passes: so many are made anyway, where examples are learned by rote,
        enough_updates: but not where they come to more updates than these.
        least: passes that are always made.
        most: passes that are never exceeded.
    """

    updates: int
    passes: int
    enough_updates: int
    least: int
    most: int


def passes(train_count: int, effort: Effort, *, by_rote: bool) -> int:
    """Return how many passes are made over so many examples.

    Reckoned with the exact number of examples per update: rounded to a power of two it would
    double the work at one example more.

    Args:
        train_count: the examples.
        effort: what the preset takes upon itself.
        by_rote: whether a small base model is to know the examples, not only to write like them.
    """
    updates_per_pass = train_count / _exact_examples_per_update(train_count)
    wanted = round(effort.updates / updates_per_pass)
    if by_rote:
        wanted = max(wanted, min(effort.passes, round(effort.enough_updates / updates_per_pass)))
    return min(effort.most, max(effort.least, wanted))


def is_small(base_parameters: int) -> bool:
    """Say whether a base model learns by rote; one of 0 parameters is of unknown size."""
    return 0 < base_parameters <= _SMALL_PARAMETERS


def _exact_examples_per_update(train_count: int) -> float:
    """A quarter of the square root of the number of examples."""
    return math.sqrt(max(1, train_count)) / 4


def learning_rate(base_parameters: int) -> float:
    """Return the highest step size for LoRA on a base model of so many parameters.

    A size that is not known (0) is taken for a large one, as too small a step only takes longer.
    """
    size = base_parameters if base_parameters > 0 else _KNOWN_PARAMETERS
    rate = _KNOWN_RATE * (_KNOWN_PARAMETERS / size) ** _RATE_EXPONENT
    return float(f"{min(rate, _HIGHEST_RATE):.2g}")
