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
    """Add to the gradients, which whoever calls has emptied, those of this process's share.

    Args:
        objective: what is learned.
        table: where the rows stand.
        rows: those of this update, of which each process of a team takes a share.
        most_tokens: so many go through the model at once.
        before_each: is called before each micro-batch.

    Returns:
        The mean loss, over how many units it is a mean, and how many tokens were read, by all.
    """
    team, fills = objective.team, objective.loss.fills
    divided = [
        divide(share, table.lengths, most_tokens, fills=fills)
        for share in team.shares(rows, table.lengths)
    ]
    batches = [objective.lay_out(table, group) for group in divided[team.rank]]
    idle = max(map(len, divided)) - len(batches)
    units, tokens = team.sum(
        sum(batch.units for batch in batches), sum(batch.tokens for batch in batches)
    )
    objective.begin_update(batches, idle)
    total = 0.0
    for batch in batches:
        before_each()
        loss = objective.total(batch, scale=1.0 / units)
        loss.backward()
        total += float(loss.detach())
    objective.keep_pace(idle)
    (total,) = team.sum(total)
    return total, int(units), int(tokens)
