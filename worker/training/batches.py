"""Which examples an update looks at, and how they are laid out for the model.

The order is a pure function of the seed and the epoch, so a run that goes on from a checkpoint
needs only to know the epoch and how many updates of it are done. Examples of like length stand
together, because what is filled up to the longest one is calculated for nothing; they are sorted
only within windows of a shuffled order, so that each epoch still mixes them anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.runs.costs.batching import best_division, updates_in_window
from worker.training.tokens import Counts, Ids, Mask, TokenTable


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model at once, filled up at their right end.

    Nothing has to be masked: in a causal model no token sees what stands to its right, and the
    filling has no loss.

    Attributes:
        ids: token ids, rows by longest row.
        positions: places in the flattened ids from which an answer token is to be told.
        targets: these answer tokens.
        tokens: ids without the filling.
        lengths: of the rows, without the filling; empty if all are as long as the longest.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    tokens: int
    lengths: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        """What a loss over answer tokens is a mean over."""
        return len(self.targets)

    @property
    def rows(self) -> torch.Tensor:
        """The row of each position: (positions,)."""
        return self.positions.div(self.ids.shape[1], rounding_mode="floor")

    def packed(self) -> "PackedBatch":
        """Return the same rows one after the other, without the filling."""
        rows, longest = self.ids.shape
        if not self.lengths or min(self.lengths) == longest:
            return PackedBatch(self.ids.reshape(-1), (longest,) * rows, self.positions)
        sizes = torch.tensor(self.lengths, device=self.ids.device)
        is_real = torch.arange(longest, device=self.ids.device) < sizes[:, None]
        before = longest * torch.arange(rows, device=self.ids.device) - (sizes.cumsum(0) - sizes)
        positions = self.positions - before[self.positions.div(longest, rounding_mode="floor")]
        return PackedBatch(self.ids[is_real], self.lengths, positions)


@dataclass(frozen=True)
class PackedBatch:
    """Rows one after the other.

    Attributes:
        ids: token ids, (tokens,).
        lengths: of the rows.
        positions: places in the ids from which an answer token is to be told.
    """

    ids: torch.Tensor
    lengths: tuple[int, ...]
    positions: torch.Tensor


def plan_epoch(lengths: Counts, seed: int, epoch: int, examples_per_update: int) -> list[Counts]:
    """Return the row numbers of each update of an epoch: all rows, each once."""
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    whole = len(order) // examples_per_update * examples_per_update
    window = updates_in_window(whole // examples_per_update) * examples_per_update
    updates: list[Counts] = []
    for start in range(0, whole, window):
        rows = order[start : min(start + window, whole)]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        updates.extend(np.split(rows, len(rows) // examples_per_update))
    generator.shuffle(updates)
    if whole < len(order):
        updates.append(order[whole:])
    return updates


def divide(
    rows: Iterable[int], lengths: Counts, most_tokens: int, *, fills: bool = True
) -> list[list[int]]:
    """Divide rows into micro-batches of at most so many tokens, with as little work as possible.

    Args:
        rows: to be divided.
        lengths: of all rows, in tokens.
        most_tokens: of a micro-batch; a longer row stands alone.
        fills: whether each row costs as much as the longest beside it; see best_division.
    """
    ordered = sorted(rows, key=lambda row: (-int(lengths[row]), row))
    sizes = [int(lengths[row]) for row in ordered]
    groups: list[list[int]] = []
    end = len(ordered)
    for count in best_division(sizes, most_tokens, fills=fills):
        groups.append(ordered[end - count : end])
        end -= count
    return groups


def lay_out(
    table: TokenTable, items: Sequence[int], filling: int, device: torch.device, part: int = 0
) -> MicroBatch:
    """Read rows and put them under each other: of each item its row, or one of its rows."""
    return lay_out_rows([table.row(item, part) for item in items], filling, device)


def lay_out_rows(
    rows: Sequence[tuple[Ids, Mask]], filling: int, device: torch.device
) -> MicroBatch:
    """Put rows under each other."""
    lengths = tuple(len(row_ids) for row_ids, _ in rows)
    ids = np.full((len(rows), max(lengths)), filling, dtype=np.int64)
    learned = np.zeros(ids.shape, dtype=bool)
    for place, (row_ids, row_mask) in enumerate(rows):
        ids[place, : len(row_ids)] = row_ids
        learned[place, : len(row_mask)] = row_mask
    # The hidden state at one place tells the token at the next.
    told = np.flatnonzero(learned.reshape(-1))
    return MicroBatch(
        ids=torch.from_numpy(ids).to(device),
        positions=torch.from_numpy(told - 1).to(device),
        targets=torch.from_numpy(ids.reshape(-1)[told]).to(device),
        tokens=sum(lengths),
        lengths=lengths,
    )
