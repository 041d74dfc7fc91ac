"""What each method has to calculate on top of a pass through the base model.

Counted per layer, forwards and backwards together, from the products that peft's layers write
down: 2 operations for each weight and token of a product, three products where what goes in and
the weight both need a gradient, two where only what goes in does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.trained import block_size
from app.runs.costs.work import Work
from app.runs.methods import Method


@dataclass(frozen=True)
class Effort:
    """Work on one layer.

    Attributes:
        wide: operations in 32 bits for each token.
        narrow: operations in the base model's numbers for each token.
        numbers: numbers in 32 bits that are written for each token.
        wide_once: operations in 32 bits, once a pass.
        narrow_once: operations in the base model's numbers, once a pass.
        numbers_once: numbers in 32 bits that are written once a pass.
    """

    wide: float = 0.0
    narrow: float = 0.0
    numbers: float = 0.0
    wide_once: float = 0.0
    narrow_once: float = 0.0
    numbers_once: float = 0.0


_NONE: Final = Effort()
# Blocks are multiplied one by one, which leaves a processor half idle.
_SMALL_PRODUCTS: Final = 3.0


def effort(shape: TransformerShape, work: Work) -> Effort:
    """Return what a method does in each layer besides the base model's own work."""
    if work.is_quick:
        # Its products are made together with the layer's, in the layer's numbers.
        return Effort(narrow=6.0 * work.rank * shape.matrix_sides)
    of_method = _EFFORTS.get(work.method)
    return _NONE if of_method is None else of_method(shape, work)


def _low_rank(shape: TransformerShape, work: Work) -> Effort:
    return Effort(
        wide=6.0 * work.rank * shape.matrix_sides,
        numbers=3.0 * shape.matrix_inputs + 6.0 * shape.matrix_outputs,
    )


def _two_adapters(shape: TransformerShape, work: Work) -> Effort:
    return Effort(
        wide=10.0 * work.rank * shape.matrix_sides,
        numbers=4.0 * shape.matrix_inputs + 9.0 * shape.matrix_outputs,
    )


def _adalora(shape: TransformerShape, work: Work) -> Effort:
    first = int(work.settings.get("first_rank") or 1.5 * work.rank)
    return Effort(
        wide=6.0 * first * shape.matrix_sides,
        numbers=3.0 * shape.matrix_inputs + 6.0 * shape.matrix_outputs,
    )


def _dora(shape: TransformerShape, work: Work) -> Effort:
    # The norm of the whole changed weight, for which the added part is multiplied out.
    whole = sum(2.0 * work.rank * inputs * (inputs + out) for inputs, out in shape.layer_matrices)
    return Effort(
        wide=6.0 * work.rank * shape.matrix_sides,
        numbers=3.0 * shape.matrix_inputs + 12.0 * shape.matrix_outputs,
        wide_once=whole,
        numbers_once=5.0 * shape.layer_weights,
    )


def _vera(shape: TransformerShape, work: Work) -> Effort:
    return Effort(
        wide=4.0 * work.rank * shape.matrix_sides,
        numbers=3.0 * shape.matrix_inputs + 9.0 * shape.matrix_outputs,
    )


def _loha(shape: TransformerShape, work: Work) -> Effort:
    weights = shape.layer_weights
    return Effort(
        wide=6.0 * weights,
        numbers=3.0 * shape.matrix_inputs + 4.0 * shape.matrix_outputs,
        wide_once=16.0 * work.rank * weights,
        numbers_once=12.0 * weights,
    )


def _lokr(shape: TransformerShape, _work: Work) -> Effort:
    weights = shape.layer_weights
    return Effort(
        wide=6.0 * weights,
        numbers=3.0 * shape.matrix_inputs + 4.0 * shape.matrix_outputs,
        numbers_once=10.0 * weights,
    )


def _oft(shape: TransformerShape, work: Work) -> Effort:
    block = block_size(shape, int(work.settings.get("block_size", 32)))
    return Effort(
        wide=_SMALL_PRODUCTS * 6.0 * block * shape.matrix_inputs,
        numbers=8.0 * shape.matrix_inputs,
        # The powers of each block, forwards and backwards.
        wide_once=_SMALL_PRODUCTS * 18.0 * block**2 * shape.matrix_inputs,
        numbers_once=16.0 * block * shape.matrix_inputs,
    )


def _boft(shape: TransformerShape, _work: Work) -> Effort:
    inputs = [size for size, _ in shape.layer_matrices]
    return Effort(
        narrow=6.0 * sum(size**2 for size in inputs),
        numbers=3.0 * shape.matrix_outputs,
        # Three whole products forwards, three backwards: block diagonal, its permutation, and one
        # with the identity.
        narrow_once=12.0 * sum(float(size) ** 3 for size in inputs),
        numbers_once=8.0 * sum(size**2 for size in inputs),
    )


def _ia3(shape: TransformerShape, _work: Work) -> Effort:
    return Effort(numbers=6.0 * (2 * shape.key_width + shape.ffn))


def _layer_norms(shape: TransformerShape, _work: Work) -> Effort:
    return Effort(numbers=4.0 * shape.hidden)


def _full(shape: TransformerShape, _work: Work) -> Effort:
    return Effort(narrow=2.0 * shape.layer_weights, numbers_once=2.0 * shape.layer_weights)


_EFFORTS: Final[dict[Method, Callable[[TransformerShape, Work], Effort]]] = {
    Method.LORA: _low_rank,
    Method.RSLORA: _low_rank,
    Method.LORA_PLUS: _low_rank,
    Method.DORA: _dora,
    Method.PISSA: _two_adapters,
    Method.OLORA: _two_adapters,
    Method.ADALORA: _adalora,
    Method.VERA: _vera,
    Method.LOHA: _loha,
    Method.LOKR: _lokr,
    Method.OFT: _oft,
    Method.BOFT: _boft,
    Method.IA3: _ia3,
    Method.LAYER_NORMS: _layer_norms,
    Method.FULL: _full,
}
