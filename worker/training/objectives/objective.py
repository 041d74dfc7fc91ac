"""What a run learns: the part of a training that differs between answers, preferences and kinds.

The loop asks an objective for its rows, lets it lay out a micro-batch, and adds up its losses. All
losses are sums over units (answer tokens, pairs, texts) with a scale, so that an update's gradient
is the same however it is divided into micro-batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

import torch
from transformers import PreTrainedModel

from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from worker.training.batches import MicroBatch, divide
from worker.training.chat_templates import ChatFormat
from worker.training.encoded import Encoder
from worker.training.lanes import ONE_LANE, Lanes
from worker.training.loss import AnswerLoss
from worker.training.measured import Measured
from worker.training.team.team import ALONE, Team
from worker.training.tokens import TokenTable, TokenTables

_ITEMS_AT_ONCE: Final = 64

T = TypeVar("T")


class Batch(Protocol):
    """A micro-batch of any objective.

    Attributes:
        units: how many the loss is a mean over.
        tokens: that are read, without the filling.
    """

    @property
    def units(self) -> int: ...
    @property
    def tokens(self) -> int: ...


@dataclass(frozen=True)
class AdapterAdditions:
    """What goes into an adapter's folder besides the adapter.

    Attributes:
        tensors: by the names that peft looks for.
        adapter_config: entries of adapter_config.json that differ.
        model_config: config.json of the model that the adapter makes; empty: that of the base.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    adapter_config: Mapping[str, Any] = field(default_factory=dict)
    model_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What an objective needs of the run before it begins.

    Attributes:
        run_folder: where what is calculated once is kept.
        tables: the rows.
        held_as: the form in which the base model is held, in how few bits.
        dtype: the number format that the run calculates with.
        as_base: lets the model be the base model for a while.
        within_memory: does work with as many tokens at once as fit.
        check_stop: raises StoppedError when the run is asked to stop.
    """

    run_folder: Path
    tables: TokenTables
    held_as: Quantization
    dtype: torch.dtype
    as_base: Callable[[], AbstractContextManager[Any]]
    within_memory: Callable[[Callable[[int], Any]], Any]
    check_stop: Callable[[], None]


class Objective(ABC):
    """One objective of one run.

    Attributes:
        asks_base_first: whether `begin` asks the base model about all examples.
        kinds: the names of the kinds that texts are sorted into, if they are.
        loss: the base model's way from tokens to log-probabilities, once it is attached.
        team: who else learns the same; everything that is measured is measured by all together.
        lanes: the threads of this process that go through the model side by side.
    """

    team: Team = ALONE
    lanes: Lanes = ONE_LANE
    asks_base_first: ClassVar[bool] = False

    def __init__(self, recipe: Recipe, chat: ChatFormat, device: torch.device) -> None:
        self.recipe = recipe
        self.chat = chat
        self.device = device
        self.filling = chat.tokenizer.pad_token_id or 0
        self.kinds: list[str] = []
        self.loss: AnswerLoss

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """What becomes of an example."""

    def attach(self, base: PreTrainedModel) -> None:
        """Take the base model, which wears no adapter yet."""
        self.loss = AnswerLoss(base)

    def go_the_quick_way(self, threads: int) -> None:
        """Leave the filling out from here on, and go in several lanes, where the model lets us.

        On the way without filling nothing is drawn at random and nothing is kept between passes.

        Args:
            threads: of the processor.
        """
        self.loss.try_packed()
        if self.loss.packed is not None and self.device.type == "cpu":
            self.lanes = Lanes(threads)

    def begin(self, around: Surroundings) -> None:  # noqa: B027 (most need nothing)
        """Calculate what is needed once, before anything is learned."""

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """Return what is learned besides the adapter, by name."""
        return {}

    @abstractmethod
    def lay_out(self, table: TokenTable, items: Sequence[int]) -> Batch:
        """Read items and make a micro-batch of them."""

    def begin_update(  # noqa: B027 (most need nothing)
        self, batches: Sequence[Any], idle: int, lanes: int
    ) -> None:
        """Look at all micro-batches of an update before the first of them is learned from.

        Args:
            batches: of this process.
            idle: how many it has less than another one of the team.
            lanes: how many of them may go through the model at once.
        """

    @abstractmethod
    def total(self, batch: Any, scale: float = 1.0) -> torch.Tensor:  # noqa: ANN401 (its own kind)
        """Return scale times the loss, summed over the batch's units."""

    def measure(
        self, table: TokenTable, most_tokens: int, check_stop: Callable[[], None]
    ) -> Measured:
        """Return what the model makes of a whole split."""

        def ask(items: list[int]) -> tuple[float, int]:
            batch = self.lay_out(table, items)
            return float(self.total(batch)), batch.units

        asked = self.ask_all(table, most_tokens, check_stop, ask)
        total, units = self.team.sum(
            sum(loss for loss, _ in asked), sum(units for _, units in asked)
        )
        return Measured(total / units)

    @torch.no_grad()
    def ask_all(
        self,
        table: TokenTable,
        most_tokens: int,
        check_stop: Callable[[], None],
        ask: Callable[[list[int]], T],
        passes: int = 1,
    ) -> list[T]:
        """Ask about this process's share of a split, learn nothing, and return all that was said.

        Args:
            table: the split.
            most_tokens: so many go through the model at once.
            check_stop: raises StoppedError when the run is asked to stop.
            ask: is given a few items; several lanes may ask at the same time.
            passes: how often it sends each group through the model.
        """
        longest = int(table.lengths.max()) if len(table) else 0
        lanes = self.lanes.most_for(most_tokens, longest, len(table))
        # Where one group would hold them all, each lane gets a part of it.
        most = min(most_tokens // lanes, max(longest, -(-int(table.lengths.sum()) // lanes)))
        groups = divide_all(table, most)

        def ask_unless_stopped(items: list[int]) -> T:
            check_stop()
            # Each thread says for itself that it learns nothing.
            with torch.no_grad():
                return ask(items)

        said = self.lanes.each(self.team.groups(groups), ask_unless_stopped, lanes)
        self.keep_pace(passes * self.team.idle_groups(len(groups)))
        return said

    def keep_pace(self, passes: int) -> None:
        """Go through a divided model as often as others do, to no effect."""
        if self.team.is_divided:
            for _ in range(passes):
                self.loss.pass_idly()

    def measure_base(
        self,
        tables: TokenTables,
        most_tokens: int,
        check_stop: Callable[[], None],
    ) -> Measured:
        """Return the same of the base model, which is in the model's place meanwhile."""
        return self.measure(tables.validation, most_tokens, check_stop)

    def additions(self) -> AdapterAdditions:
        """Return what is saved besides the adapter."""
        return AdapterAdditions()


def divide_all(table: TokenTable, most_tokens: int) -> list[list[int]]:
    """Divide a whole split into micro-batches, a limited number of items at a time."""
    ordered = sorted(range(len(table)), key=lambda item: (int(table.lengths[item]), item))
    return [
        group
        for start in range(0, len(ordered), _ITEMS_AT_ONCE)
        for group in divide(ordered[start : start + _ITEMS_AT_ONCE], table.lengths, most_tokens)
    ]


def summed_by_row(values: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Add up what belongs to the same row: (positions,) to (rows,)."""
    sums = values.new_zeros(batch.ids.shape[0])
    return sums.index_add(0, batch.rows, values)
