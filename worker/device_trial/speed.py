"""How fast this machine calculates: the price of each part of a pass.

All is measured in processor time of the main thread, or of the lane that took longest where rows
go through the model in lanes. Where nothing else runs this is the time on the clock, since that
thread takes part in all that is calculated; and where much else runs it stays nearly the same,
which the clock does not.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
import torch

from app.runs.costs.efforts import effort
from app.runs.device_constants import PassSeconds
from app.runs.methods import Method
from worker.device_memory import give_back_pieces
from worker.device_trial.probes import Built, Probe, lanes_of
from worker.training.lanes import Lanes

T = TypeVar("T")

_BILLION: Final = 1e9
_TIMING: Final = (
    Probe(64, 2, 2, 128, 6, 4, 16),
    Probe(192, 6, 6, 512, 4, 8, 32),
    Probe(256, 8, 8, 704, 2, 8, 64),
    Probe(256, 8, 4, 704, 2, 8, 256),
    Probe(512, 16, 8, 1408, 2, 8, 64),
    Probe(512, 16, 16, 1408, 1, 4, 768),
    Probe(512, 16, 16, 1408, 1, 8, 256),
    Probe(768, 24, 8, 2048, 1, 8, 96),
    Probe(256, 8, 8, 704, 1, 8, 64, vocabulary=16_384),
)
_ROUNDS: Final = 4
_SIDE: Final = 1024
# Layers of the models that people train are about so wide, and so many products long enough for
# the processor's clock to be read.
_WIDTH: Final = 768
_TOKENS: Final = 1024
_PRODUCTS: Final = 16
# More than the caches hold.
_MANY: Final = 32 * 1024**2


def pass_seconds(weight_bytes: int, method: Method) -> PassSeconds:
    """Find the price of each part of a pass from what passes through several models took.

    Products are measured alone: in models small enough for a trial they take so small a part of the
    time that nothing could be told about those in which they take most of it.
    """
    operations = _narrow_operations(weight_bytes, method)
    rows, left = [], []
    for probe in _TIMING:
        built = Built(probe, weight_bytes, method)
        built.go_through(probe.rows, probe.length)
        least = min(built.go_through(probe.rows, probe.length) for _ in range(_ROUNDS))
        # Each point counts by its share, so that the small ones have a say.
        of_products, *others = _costs(probe, method)
        rows.append([cost / least for cost in others])
        left.append(max(0.0, 1.0 - operations * of_products / least))
    layer, numbers, attention, head = solve(rows, left)
    return PassSeconds(
        layer=layer, operations=operations, numbers=numbers, attention=attention, head=head
    )


def _narrow_operations(weight_bytes: int, method: Method) -> float:
    """Return what a thousand million operations of a layer's products take, in lanes or not."""
    lanes = lanes_of(method)
    dtype = torch.bfloat16 if weight_bytes == 2 else torch.float32
    weight = torch.randn(_WIDTH, 3 * _WIDTH).to(dtype)
    tokens = [torch.randn(_TOKENS // lanes.most, _WIDTH).to(dtype) for _ in range(lanes.most)]

    def multiply(mine: torch.Tensor) -> None:
        for _ in range(_PRODUCTS):
            torch.mm(mine, weight)

    seconds = min(_of_lanes(lanes, tokens, multiply) for _ in range(_ROUNDS))
    return seconds / (_PRODUCTS * 2 * _TOKENS * 3 * _WIDTH**2 / _BILLION)


def _of_lanes(lanes: Lanes, items: Sequence[T], work: Callable[[T], None]) -> float:
    busy = lanes.busy_seconds
    alone = _seconds(lambda: lanes.each(items, work, lanes.most))
    return alone + lanes.busy_seconds - busy


def wide_operations() -> float:
    """Return what a thousand million operations of products in 32 bits take."""
    left = torch.randn(_SIDE, _SIDE)
    return _least_seconds(lambda: torch.mm(left, left)) / (2 * _SIDE**3 / _BILLION)


def written() -> float:
    """Return what it takes to read and write a thousand million numbers in 32 bits."""
    numbers = torch.ones(_MANY)
    other = torch.ones(_MANY)
    return _least_seconds(lambda: torch.mul(numbers, 1.5, out=other)) / (_MANY / _BILLION)


def fresh_byte_seconds() -> float:
    """Return what it takes to be given a byte by the system, beyond writing to it."""
    return max(0.0, min(_first_writing() for _ in range(_ROUNDS))) / (4 * _MANY)


def _first_writing() -> float:
    """Return by how much the first writing to a block takes longer than the second."""
    # What lies around free would be taken instead.
    give_back_pieces()
    numbers = torch.empty(_MANY)
    first, again = (_seconds(partial(numbers.fill_, 1.0)) for _ in range(2))
    return first - again


def _costs(probe: Probe, method: Method) -> list[float]:
    """What PassSeconds has a price for: operations, layers, numbers, attention, head."""
    shape, work = probe.shape, probe.work(method)
    tokens = probe.tokens + probe.rows * work.places_before
    here = probe.layers * tokens / _BILLION
    operations = 4.0 * shape.layer_weights + effort(shape, work).narrow
    numbers = shape.hidden + shape.query_width + shape.key_width + shape.ffn
    head = 4.0 * shape.vocabulary * shape.hidden * work.answer_share
    return [
        operations * here,
        float(probe.layers),
        numbers * here,
        shape.query_width * work.attended_tokens * here,
        head * probe.tokens / _BILLION,
    ]


def _least_seconds(do: Callable[[], object]) -> float:
    return min(_seconds(do) for _ in range(_ROUNDS))


def _seconds(do: Callable[[], object]) -> float:
    started = time.thread_time()
    do()
    return time.thread_time() - started


def solve(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Return the least squares solution without negative numbers (which would be no price)."""
    matrix, wanted = np.asarray(rows, dtype=float), np.asarray(values, dtype=float)
    scale = np.abs(matrix).max(axis=0)
    used = list(range(matrix.shape[1]))
    while used:
        found = np.linalg.lstsq(matrix[:, used] / scale[used], wanted, rcond=None)[0]
        if found.min() >= 0:
            break
        used.pop(int(found.argmin()))
    solution = np.zeros(matrix.shape[1])
    solution[used] = found / scale[used]
    return [float(number) for number in solution]
