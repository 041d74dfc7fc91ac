"""What a training has to do, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final, Self

from app.runs.costs.batching import FilledPasses, likely_passes, updates_in_window
from app.runs.methods import METHODS, Method, Quantization
from app.runs.objectives import Objective

# Two rows for each example: the better and the worse answer, or its own question and another's.
_TWO_ROWS: Final = frozenset({Objective.DPO, Objective.ORPO, Objective.KTO})
_QUICK: Final = frozenset({Method.LORA, Method.RSLORA, Method.LORA_PLUS})
_ASKS_BASE_FIRST: Final = frozenset({Objective.DPO, Objective.KTO})


@dataclass(frozen=True)
class Work:
    """What a training has to do, in numbers.

    Attributes:
        method: how it learns; its own settings stand in `settings`.
        row_tokens: tokens of one example, on average.
        longest_row: tokens of the longest.
        examples: that are learned from, in each pass.
        epochs: passes over them.
        answer_share: the share of the tokens that are answers.
        held_out: examples that are asked at each evaluation.
        answer_tokens: of the longest answer that is written at each evaluation, to be shown.
        divided_over: on how many devices the base model's layers lie, a part of each on each.
        may_fall_to_four_bits: whether it goes on with the base model in 4 bits where nothing else
            helps against too little memory, on devices that can.
    """

    row_tokens: float
    longest_row: int
    examples: int = 1
    epochs: int = 1
    examples_per_update: int = 8
    tokens_per_micro_batch: int = 4096
    method: Method = Method.LORA
    settings: Mapping[str, Any] = field(default_factory=dict)
    quantization: Quantization = Quantization.NONE
    objective: Objective = Objective.ANSWERS
    answer_share: float = 0.6
    held_out: int = 0
    evaluations: int = 0
    answer_tokens: int = 0
    divided_over: int = 1
    may_fall_to_four_bits: bool = False

    def share(self, devices: int) -> Self:
        """Return what each of several devices does that learn together."""
        own = ceil(self.examples_per_update / devices)
        return replace(
            self,
            examples=ceil(self.examples * own / self.examples_per_update),
            examples_per_update=own,
            held_out=ceil(self.held_out / devices),
        )

    @property
    def updates(self) -> int:
        return self.epochs * self._updates_of_an_epoch

    @property
    def is_full(self) -> bool:
        return self.method is Method.FULL

    @property
    def rank(self) -> int:
        return int(self.settings.get("rank", 0) or 0)

    @property
    def rows_per_example(self) -> int:
        return 2 if self.objective in _TWO_ROWS else 1

    @property
    def learns_from_all_rows(self) -> bool:
        """Whether a pass goes through all rows of an example; KTO only judges by its second."""
        return self.objective is not Objective.KTO

    @property
    def asks_base_first(self) -> bool:
        return self.objective in _ASKS_BASE_FIRST

    @property
    def places_before(self) -> int:
        """Virtual tokens that go through the layers before every row."""
        in_memory = self.method is Method.PREFIX_TUNING
        return 0 if in_memory or not self.settings else self._virtual_tokens

    @property
    def attended_tokens(self) -> float:
        """How long a row is for its attention."""
        return self.row_tokens + (self._virtual_tokens if self.settings else 0)

    @property
    def _virtual_tokens(self) -> int:
        return METHODS[self.method].virtual_tokens(self.settings)

    @property
    def is_quick(self) -> bool:
        """Whether it can go Tailor's own way through the layers, which fills no row."""
        is_plain = self.divided_over == 1 and self.quantization is Quantization.NONE
        return is_plain and self.method in _QUICK and not self.settings.get("dropout")

    @property
    def most_at_once(self) -> int:
        """Tokens of the fullest micro-batch."""
        if self.is_quick:
            return round(max(self.longest_row * self._learned_rows, self._packed_at_once))
        return round(self._filled.fullest * self._learned_rows / self.rows_per_example)

    @property
    def micro_batches(self) -> float:
        """Passes of an epoch."""
        if self.is_quick:
            tokens = self.examples_per_update * self.row_tokens * self.rows_per_example
            return self._updates_of_an_epoch * ceil(tokens / self.tokens_per_micro_batch)
        return self._filled.of_an_epoch

    @property
    def _learned_rows(self) -> int:
        return self.rows_per_example if self.learns_from_all_rows else 1

    @property
    def _packed_at_once(self) -> float:
        """Tokens of the fullest pass without filling; the passes of an update are alike in size."""
        # Sorted over a window of updates, the longest rows come into the same one.
        spread = (self.longest_row - self.row_tokens) / self._window
        tokens = min(self.examples, self.examples_per_update) * (self.longest_row - spread)
        passes = ceil(tokens * self.rows_per_example / self.tokens_per_micro_batch)
        return tokens * self._learned_rows / max(1, passes)

    @property
    def _filled(self) -> FilledPasses:
        return likely_passes(
            round(self.row_tokens * self.rows_per_example, 1),
            self.longest_row * self.rows_per_example,
            self.examples,
            self.examples_per_update,
            self.epochs,
            self.tokens_per_micro_batch,
        )

    @property
    def _updates_of_an_epoch(self) -> int:
        return -(-self.examples // self.examples_per_update)

    @property
    def _window(self) -> int:
        return updates_in_window(self._updates_of_an_epoch)
