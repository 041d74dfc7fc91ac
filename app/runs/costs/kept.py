"""What one layer keeps between the forward and the backward pass, in bytes.

Read off the layers themselves: Tailor's own (worker/training/packed), those of transformers (5.x)
and peft's (0.21) on top of them. `tests/methods/test_kept_bytes.py` counts the same on real small
models, method by method. Two ways lead through a model. Tailor's quick one keeps little, and knows
LoRA alone. All else goes the model's own way, on which most of peft's layers keep their input in
32 bits; DoRA keeps what comes out as well, and LoHa, LoKr and BOFT build whole matrices, as large
as the layer's, in every pass.
"""

from collections.abc import Callable
from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.trained import block_size
from app.runs.costs.work import Work
from app.runs.methods import METHODS, Method, Quantization

_WIDE: Final = 4
_QUERIES_AT_ONCE: Final = 128
_TURN_BYTES: Final = 16.0
_READS_WIDE: Final = frozenset(
    {
        *(Method.LORA, Method.RSLORA, Method.LORA_PLUS, Method.DORA, Method.PISSA, Method.OLORA),
        *(Method.ADALORA, Method.LOHA, Method.LOKR, Method.OFT),
    }
)


def number_bytes(work: Work, weight_bytes: int) -> int:
    """Return the bytes of the base model's numbers while a method learns."""
    return _WIDE if METHODS[work.method].needs_float32 else weight_bytes


def kept_per_token(shape: TransformerShape, work: Work, weight_bytes: int) -> float:
    """Return what one layer keeps of one token."""
    size = number_bytes(work, weight_bytes)
    if work.is_quick:
        return _quick(shape, work, size)
    return _plain(shape, size) + _few_bits(shape, work) + _method(shape, work, size)


def kept_per_pass(shape: TransformerShape, work: Work, weight_bytes: int) -> float:
    """Return what one layer keeps of a pass, however few tokens go through it."""
    size = number_bytes(work, weight_bytes)
    if work.is_quick:
        return size * _joined_adapters(shape, work.rank)
    match work.method:
        case Method.LOHA | Method.LOKR:
            return float(_WIDE * shape.layer_weights)
        case Method.ADALORA:
            return float(_WIDE * _first_rank(work) * shape.matrix_inputs)
        case Method.OFT:
            return _turned(shape, work)
        case Method.BOFT:
            # The rotation, what it was multiplied with, and in 16 bits the permutation anew.
            copies = 2 if size == _WIDE else 3
            squares = sum(inputs**2 for inputs, _ in shape.layer_matrices)
            return copies * size * squares + _turned(shape, work)
        case _:
            return 0.0


def attention_weights(shape: TransformerShape, size: int, row_tokens: float) -> float:
    """Return what Tailor's own attention keeps of one token on a processor.

    It is a weight for each token that may be seen, and for a chunk of queries all that its last
    one may see.
    """
    whole, rest = divmod(row_tokens, _QUERIES_AT_ONCE)
    pairs = _QUERIES_AT_ONCE**2 * whole * (whole + 1) / 2 + rest * row_tokens
    return size * shape.heads * pairs / max(row_tokens, 1.0)


def _quick(shape: TransformerShape, work: Work, size: int) -> float:
    # Both parts' input and its norm; queries and answers, keys and values; gate, up, and the opened
    # gate; what the adapters saw.
    widths = 4 * shape.hidden + 2 * shape.query_width + 2 * shape.key_width + 3 * shape.ffn
    return size * (widths + work.rank * len(shape.layer_matrices)) + 8.0


def _plain(shape: TransformerShape, size: int) -> float:
    # Both norms' input in 32 bits; queries and answers, keys and values; gate, up, opened gate; of
    # each head and norm a sum.
    narrow = 2 * shape.query_width + 2 * shape.key_width + 3 * shape.ffn
    sums = _WIDE * (shape.heads + 2)
    return float(2 * _WIDE * shape.hidden + size * narrow + sums)


def _few_bits(shape: TransformerShape, work: Work) -> float:
    """In 8 bits each layer multiplies a copy of its input in as few, and keeps it."""
    return float(shape.matrix_inputs) if work.quantization is Quantization.EIGHT_BIT else 0.0


def _method(shape: TransformerShape, work: Work, size: int) -> float:
    """Return what the method adds to the model's own way."""
    wide = _read_wide(shape, size) if work.method in _READS_WIDE else 0.0
    if work.settings.get("dropout") and wide:
        wide += shape.matrix_inputs  # One byte says of each number whether it is left away.
    more = _MORE.get(work.method)
    return wide if more is None else wide + more(shape, work, size)


def _read_wide(shape: TransformerShape, size: int) -> float:
    """Each layer makes a copy of its own in 32 bits, unless that is what the model has anyway."""
    return float(_WIDE * (_new_inputs(shape) if size == _WIDE else shape.matrix_inputs))


def _low_rank(shape: TransformerShape, work: Work, _size: int) -> float:
    return float(_WIDE * work.rank * len(shape.layer_matrices))


def _dora(shape: TransformerShape, work: Work, size: int) -> float:
    return (size + _WIDE) * shape.matrix_outputs + _low_rank(shape, work, size)


def _adalora(shape: TransformerShape, work: Work, size: int) -> float:
    added = 0 if size == _WIDE else _WIDE * shape.matrix_outputs
    return float(_WIDE * _first_rank(work) * len(shape.layer_matrices) + added)


def _vera(shape: TransformerShape, work: Work, size: int) -> float:
    return _WIDE * shape.matrix_outputs + _low_rank(shape, work, size)


def _boft(shape: TransformerShape, _work: Work, size: int) -> float:
    return float(size * (_new_inputs(shape) + shape.matrix_outputs))


def _prefix_tuning(shape: TransformerShape, work: Work, size: int) -> float:
    # Keys and values are put behind the virtual ones, and these again laid out for each head.
    longer = 1 + int(work.settings.get("virtual_tokens", 20)) / max(1, work.longest_row)
    return 2 * size * ((shape.query_width + shape.key_width) * longer - shape.key_width)


def _ia3(shape: TransformerShape, _work: Work, size: int) -> float:
    return float(2 * size * shape.key_width + _WIDE * shape.ffn)


def _layer_norms(shape: TransformerShape, _work: Work, _size: int) -> float:
    return float(2 * _WIDE * shape.hidden)


def _full(shape: TransformerShape, _work: Work, _size: int) -> float:
    return float(_WIDE * (_new_inputs(shape) + 2 * shape.hidden))


_MORE: Final[dict[Method, Callable[[TransformerShape, Work, int], float]]] = {
    Method.LORA: _low_rank,
    Method.RSLORA: _low_rank,
    Method.LORA_PLUS: _low_rank,
    Method.DORA: _dora,
    Method.PISSA: _low_rank,
    Method.OLORA: _low_rank,
    Method.ADALORA: _adalora,
    Method.VERA: _vera,
    Method.BOFT: _boft,
    Method.IA3: _ia3,
    Method.LAYER_NORMS: _layer_norms,
    Method.PREFIX_TUNING: _prefix_tuning,
    Method.FULL: _full,
}


def _new_inputs(shape: TransformerShape) -> int:
    """Count the inputs that nothing else keeps; queries, keys and values read the same ones."""
    return 2 * shape.hidden + shape.ffn


def _first_rank(work: Work) -> int:
    return int(work.settings.get("first_rank") or 1.5 * work.rank)


def _joined_adapters(shape: TransformerShape, rank: int) -> float:
    """Count the numbers of the adapters as the quick way puts them together for a pass.

    Those that read the same stand in one matrix, what comes out of each in a block of its own.
    """
    query_key_value = 3 * (shape.query_width + 2 * shape.key_width)
    gate_up = 2 * (2 * shape.ffn if shape.is_gated else shape.ffn)
    return float(rank * (shape.matrix_inputs + query_key_value + gate_up + 2 * shape.hidden))


def _turned(shape: TransformerShape, work: Work) -> float:
    """Return what is kept of the blocks that turn the inputs: their powers or their inverses."""
    block = block_size(shape, int(work.settings.get("block_size", 32)))
    return _TURN_BYTES * block * shape.matrix_inputs
