"""The gradient of one update, added up over the micro-batches that fit into memory."""

from collections.abc import Callable, Sequence

from worker.training.batches import divide
from worker.training.objectives.objective import Objective
from worker.training.tokens import TokenTable


def add_up_gradients(
    objective: Objective,
    table: TokenTable,
    rows: Sequence[int],
    most_tokens: int,
    before_each: Callable[[], None],
) -> tuple[float, int, int]:
    """Add to the gradients, which whoever calls has emptied.

    Args:
        objective: what is learned.
        table: where the rows stand.
        rows: those of this update.
        most_tokens: so many go through the model at once.
        before_each: is called before each micro-batch.

    Returns:
        The mean loss, over how many units it is a mean, and how many tokens were read.
    """
    groups = divide(rows, table.lengths, most_tokens, fills=objective.loss.fills)
    batches = [objective.lay_out(table, group) for group in groups]
    units = sum(batch.units for batch in batches)
    objective.begin_update(batches)
    total = 0.0
    for batch in batches:
        before_each()
        loss = objective.total(batch, scale=1.0 / units)
        loss.backward()
        total += float(loss.detach())
    return total, units, sum(batch.tokens for batch in batches)
