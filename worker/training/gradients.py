"""The gradient of one update, added up over the micro-batches that fit into memory."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

import torch

from worker.training.batches import divide
from worker.training.objectives.objective import Batch, Objective
from worker.training.tokens import TokenTable

Gradients = list[torch.Tensor | None]


def add_up_gradients(
    objective: Objective,
    table: TokenTable,
    rows: Sequence[int],
    most_tokens: int,
    weights: Mapping[str, torch.nn.Parameter],
    before_each: Callable[[], None],
) -> tuple[float, int, int]:
    """Add to the gradients, which whoever calls has emptied, those of this process's share.

    Args:
        objective: what is learned.
        table: where the rows stand.
        rows: those of this update, of which each process of a team takes a share.
        most_tokens: so many go through the model at once.
        weights: what is trained, by name.
        before_each: is called before each micro-batch.

    Returns:
        The mean loss, over how many units it is a mean, and how many tokens were read, by all.
    """
    team = objective.team
    shares = team.shares(rows, table.lengths)
    divided = [_divided(objective, table, share, most_tokens) for share in shares]
    passes = [sum(map(len, lanes)) for lanes in divided]
    lanes = [[objective.lay_out(table, group) for group in groups] for groups in divided[team.rank]]
    batches = list(chain.from_iterable(lanes))
    idle = max(passes) - len(batches)
    units, tokens = team.sum(
        sum(batch.units for batch in batches), sum(batch.tokens for batch in batches)
    )
    objective.begin_update(batches, idle, len(lanes))
    learn = partial(_learn, objective, 1.0 / units, before_each)
    if len(lanes) == 1:
        total = learn(batches)
    else:
        trained = list(weights.values())
        apart = partial(_learn_apart, objective, 1.0 / units, before_each, trained)
        total = _put_together(objective.lanes.each(lanes, apart, len(lanes)), trained)
    objective.keep_pace(idle)
    (total,) = team.sum(total)
    return total, int(units), int(tokens)


def _divided(
    objective: Objective, table: TokenTable, rows: Sequence[int], most_tokens: int
) -> list[list[list[int]]]:
    """Return the groups of rows of each lane."""
    lanes = objective.lanes.shares(rows, table.lengths, most_tokens)
    most, fills = most_tokens // len(lanes), objective.loss.fills
    return [divide(lane, table.lengths, most, fills=fills) for lane in lanes]


def _learn(
    objective: Objective,
    scale: float,
    before_each: Callable[[], None],
    batches: Sequence[Batch],
) -> float:
    """Add the gradients of all batches to those of the weights; return the loss."""
    total = 0.0
    for batch in batches:
        before_each()
        loss = objective.total(batch, scale=scale)
        loss.backward()
        total += float(loss.detach())
    return total


def _learn_apart(
    objective: Objective,
    scale: float,
    before_each: Callable[[], None],
    weights: Sequence[torch.nn.Parameter],
    batches: Sequence[Batch],
) -> tuple[float, Gradients]:
    """Return the loss and the gradients of all batches, and leave those of the weights alone.

    Lanes that added to the same gradients would do so in any order, and end with other bits.
    """
    total = 0.0
    sums: Gradients = [None] * len(weights)
    for batch in batches:
        before_each()
        loss = objective.total(batch, scale=scale)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        sums = [_sum(before, more) for before, more in zip(sums, found, strict=True)]
        total += float(loss.detach())
    return total, sums


def _put_together(
    lanes: Sequence[tuple[float, Gradients]], weights: Sequence[torch.nn.Parameter]
) -> float:
    for _, gradients in lanes:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = _sum(weight.grad, _as_it_lies(weight, gradient))
    return sum(total for total, _ in lanes)


def _as_it_lies(weight: torch.nn.Parameter, gradient: torch.Tensor | None) -> torch.Tensor | None:
    """Return a gradient in the order in which its weight lies in memory.

    A fused optimizer reads it in that order without a look at how it lies. `backward` sees to it;
    `torch.autograd.grad` does not.
    """
    if gradient is None or gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight, dtype=gradient.dtype).copy_(gradient)


def _sum(before: torch.Tensor | None, more: torch.Tensor | None) -> torch.Tensor | None:
    """Add to the first of two, which is ours alone; either may not be there."""
    if before is None or more is None:
        return more if before is None else before
    return before.add_(more)
