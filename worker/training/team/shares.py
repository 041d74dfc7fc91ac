"""Who does what: a pure function of the rows, so that each process finds the same answer."""

from collections.abc import Sequence

from worker.training.tokens import Counts


def shares_of(rows: Sequence[int], lengths: Counts, size: int) -> list[list[int]]:
    """Divide rows among so many processes, so that all have about as many tokens to read.

    The longest row goes first, each to whoever has least by then (Graham, 1969).
    """
    if size == 1:
        return [list(rows)]
    shares: list[list[int]] = [[] for _ in range(size)]
    tokens = [0] * size
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        least = tokens.index(min(tokens))
        shares[least].append(row)
        tokens[least] += int(lengths[row])
    return shares
