"""How many numbers a method trains, and holds beside them, on a base model of known measures.

Counted as peft makes them; `tests/runs/test_method_costs.py` compares each count with a real model.
"""

from collections.abc import Callable, Mapping
from math import gcd
from typing import Any, Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.methods import Method

Settings = Mapping[str, Any]
Counter = Callable[[TransformerShape, Settings], float]


def trained_numbers(shape: TransformerShape, method: Method, settings: Settings) -> float:
    """Return how many numbers are trained."""
    return float(_TRAINED[method](shape, settings))


def fixed_numbers(shape: TransformerShape, method: Method, settings: Settings) -> float:
    """Return how many numbers a method holds besides, in 32 bits, that never change."""
    count = _FIXED.get(method)
    return 0.0 if count is None else float(count(shape, settings))


def block_size(shape: TransformerShape, wanted: int) -> int:
    """Return the block that OFT and BOFT take: the largest even one that divides every layer."""
    common = gcd(*(inputs for inputs, _ in shape.layer_matrices))
    sizes = (size for size in range(wanted, 1, -1) if common % size == 0 and size % 2 == 0)
    return next(sizes, 2)


def _lora(shape: TransformerShape, settings: Settings) -> float:
    return _rank(settings) * shape.matrix_sides * shape.layers


def _dora(shape: TransformerShape, settings: Settings) -> float:
    return _lora(shape, settings) + shape.layers * shape.matrix_outputs


def _adalora(shape: TransformerShape, settings: Settings) -> float:
    rank = max(int(settings.get("first_rank") or 1.5 * _rank(settings)), _rank(settings) + 1)
    return rank * (shape.matrix_sides + len(shape.layer_matrices)) * shape.layers


def _vera(shape: TransformerShape, settings: Settings) -> float:
    ranks = _rank(settings) * len(shape.layer_matrices)
    return shape.layers * (ranks + shape.matrix_outputs)


def _shared_projections(shape: TransformerShape, settings: Settings) -> float:
    widest_input = max(inputs for inputs, _ in shape.layer_matrices)
    widest_output = max(outputs for _, outputs in shape.layer_matrices)
    return _rank(settings) * (widest_input + widest_output)


def _loha(shape: TransformerShape, settings: Settings) -> float:
    return 2 * _lora(shape, settings)


def _lokr(shape: TransformerShape, settings: Settings) -> float:
    factor = int(settings.get("factor", 8))
    both = bool(settings.get("decompose_both", False))
    return shape.layers * sum(
        _kronecker(_divided(inputs, factor), _divided(outputs, factor), _rank(settings), both=both)
        for inputs, outputs in shape.layer_matrices
    )


def _kronecker(inputs: tuple[int, int], outputs: tuple[int, int], rank: int, *, both: bool) -> int:
    """Count the numbers of the small and the large part, each whole or as two of a low rank."""
    (small_in, large_in), (small_out, large_out) = inputs, outputs
    small_is_low = both and rank < max(small_in, small_out) / 2
    small = rank * (small_in + small_out) if small_is_low else small_in * small_out
    large_is_low = rank < max(large_in, large_out) / 2
    return small + (rank * (large_in + large_out) if large_is_low else large_in * large_out)


def _divided(size: int, factor: int) -> tuple[int, int]:
    """Divide a side as peft does: by the factor, or else as evenly as the factor allows."""
    if factor > 0 and size % factor == 0:
        return factor, size // factor
    most = size if factor == -1 else factor
    small = max(
        part for part in range(1, int(size**0.5) + 1) if size % part == 0 and part <= max(most, 1)
    )
    return small, size // small


def _oft(shape: TransformerShape, settings: Settings) -> float:
    block = block_size(shape, int(settings.get("block_size", 32)))
    return shape.layers * shape.matrix_inputs * (block - 1) / 2


def _boft(shape: TransformerShape, settings: Settings) -> float:
    block = block_size(shape, int(settings.get("block_size", 16)))
    return shape.layers * (shape.matrix_inputs * block + shape.matrix_outputs)


def _permutations(shape: TransformerShape, _settings: Settings) -> float:
    return shape.layers * sum(inputs**2 for inputs, _ in shape.layer_matrices)


def _ia3(shape: TransformerShape, _settings: Settings) -> float:
    return shape.layers * (2 * shape.key_width + shape.ffn)


def _layer_norms(shape: TransformerShape, _settings: Settings) -> float:
    return (2 * shape.layers + 1) * shape.hidden


def _prompt_tuning(shape: TransformerShape, settings: Settings) -> float:
    return int(settings.get("virtual_tokens", 20)) * shape.hidden


def _p_tuning(shape: TransformerShape, settings: Settings) -> float:
    width = int(settings.get("encoder_size", 128))
    network = (2 * shape.hidden + width + 2) * width + shape.hidden
    return _prompt_tuning(shape, settings) + network


def _prefix_tuning(shape: TransformerShape, settings: Settings) -> float:
    remembered = 2 * shape.layers * shape.key_width
    if not settings.get("through_network", False):
        return int(settings.get("virtual_tokens", 20)) * remembered
    width = int(settings.get("encoder_size", 128))
    network = (shape.key_width + 1) * width + (width + 1) * remembered
    return int(settings.get("virtual_tokens", 20)) * shape.key_width + network


def _full(shape: TransformerShape, _settings: Settings) -> float:
    return shape.size


def _rank(settings: Settings) -> int:
    return int(settings.get("rank") or 16)


_TRAINED: Final[dict[Method, Counter]] = {
    Method.LORA: _lora,
    Method.RSLORA: _lora,
    Method.DORA: _dora,
    Method.LORA_PLUS: _lora,
    Method.PISSA: _lora,
    Method.OLORA: _lora,
    Method.ADALORA: _adalora,
    Method.VERA: _vera,
    Method.LOHA: _loha,
    Method.LOKR: _lokr,
    Method.OFT: _oft,
    Method.BOFT: _boft,
    Method.IA3: _ia3,
    Method.LAYER_NORMS: _layer_norms,
    Method.PROMPT_TUNING: _prompt_tuning,
    Method.P_TUNING: _p_tuning,
    Method.PREFIX_TUNING: _prefix_tuning,
    Method.FULL: _full,
}
_FIXED: Final[dict[Method, Counter]] = {
    # What the adapter began with is taken away from the base model by a second one.
    Method.PISSA: _lora,
    Method.OLORA: _lora,
    Method.VERA: _shared_projections,
    # BOFT keeps its permutation of each layer's inputs as a whole matrix.
    Method.BOFT: _permutations,
}
