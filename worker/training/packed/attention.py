"""Causal attention over a stream of rows: each token sees its own row up to itself.

On a processor, torch's fused attention took three to four times as long as the plain products
below (forward and backward, bf16, rows of 256 tokens). The queries are taken in chunks, and a chunk
is multiplied only with the keys that it may see, which spares nearly half the work of long rows.
On a graphics card torch's own kernels are used, which know rows of different lengths.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from worker.training.packed.stream import Group, Stream

_QUERIES_AT_ONCE: Final = 128

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Heads:
    """The shape of a layer's attention.

    Attributes:
        queries: heads of the queries.
        keys: heads of keys and values; each serves as many query heads (Ainslie et al., 2023).
        size: of one head.
        scaling: of the scores.
    """

    queries: int
    keys: int
    size: int
    scaling: float

    @property
    def shared_by(self) -> int:
        return self.queries // self.keys


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads, stream: Stream
) -> tuple[torch.Tensor, Any]:
    """Return what each token takes from its row, and what the way back needs.

    Args:
        query: (tokens, query heads, size); key and value: (tokens, key heads, size).
        key: see query.
        value: see query.
        heads: the shape.
        stream: where the rows are.
    """
    if query.device.type != "cpu":
        return _by_kernel(query, key, value, heads, stream)
    result = torch.empty_like(query, memory_format=torch.contiguous_format)
    kept = []
    for group in stream.groups:
        laid = (
            _lay_out(query, group, heads),
            _lay_out(key, group, heads),
            _lay_out(value, group, heads),
        )
        answer, weights = _forward(*laid, heads)
        _take_back(answer, group, heads, result)
        kept.append((*laid, weights))
    return result, kept


def attend_backward(
    upstream: torch.Tensor,
    kept: Any,  # noqa: ANN401 (what attend gave, by device)
    heads: Heads,
    stream: Stream,
    into: Inputs,
) -> None:
    """Write the gradients of query, key and value into three tensors of their shapes."""
    if upstream.device.type != "cpu":
        out, inputs = kept
        for target, slope in zip(into, torch.autograd.grad(out, inputs, upstream), strict=True):
            target.copy_(slope)
        return
    for place, group in enumerate(stream.groups):
        query, key, value, weights = kept[place]
        kept[place] = None  # Frees it as soon as it is used.
        slopes = _backward(
            _lay_out(upstream, group, heads, filled_with_zeros=True),
            (query, key, value),
            weights,
            heads,
        )
        for slope, target in zip(slopes, into, strict=True):
            _take_back(slope, group, heads, target)


def _forward(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Attend within one group; all are (rows * key heads, length * sharing heads or 1, size)."""
    length, shared = key.shape[1], heads.shared_by
    answer = torch.empty_like(query)
    kept = []
    future = _future(min(length, _QUERIES_AT_ONCE), shared, query)
    for start in range(0, length, _QUERIES_AT_ONCE):
        end = min(start + _QUERIES_AT_ONCE, length)
        chunk = slice(start * shared, end * shared)
        scores = _scaled(query[:, chunk], key[:, :end].transpose(1, 2), heads.scaling)
        scores[:, :, start:].add_(future[: (end - start) * shared, : end - start])
        weights = torch.softmax(scores, dim=-1)
        answer[:, chunk] = torch.bmm(weights, value[:, :end])
        kept.append(weights)
    return answer, kept


def _backward(
    upstream: torch.Tensor,
    inputs: Inputs,
    kept: list[torch.Tensor],
    heads: Heads,
) -> Inputs:
    query, key, value = inputs
    shared = heads.shared_by
    query_slope = torch.empty_like(query)
    key_slope, value_slope = torch.zeros_like(key), torch.zeros_like(value)
    # From the end, so that the largest chunk is added to zeros.
    for place in reversed(range(len(kept))):
        weights = kept.pop()
        end = weights.shape[-1]
        chunk = slice(place * _QUERIES_AT_ONCE * shared, end * shared)
        here = upstream[:, chunk]
        value_slope[:, :end].baddbmm_(weights.transpose(1, 2), here)
        slope = torch.bmm(here, value[:, :end].transpose(1, 2))
        slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)  # noqa: SLF001
        query_slope[:, chunk] = _scaled(slope, key[:, :end], heads.scaling)
        key_slope[:, :end].baddbmm_(slope.transpose(1, 2), query[:, chunk], alpha=heads.scaling)
    return query_slope, key_slope, value_slope


def _scaled(left: torch.Tensor, right: torch.Tensor, scaling: float) -> torch.Tensor:
    """Return scaling * left @ right, scaled where it is calculated and not in a pass of its own."""
    return torch.baddbmm(left.new_empty(1), left, right, beta=0.0, alpha=scaling)


def _future(length: int, shared: int, like: torch.Tensor) -> torch.Tensor:
    """Return minus infinity where a query of a chunk would see what comes after it."""
    mask = like.new_full((length, length), float("-inf")).triu_(1)
    return mask.repeat_interleave(shared, dim=0)


def _lay_out(
    part: torch.Tensor, group: Group, heads: Heads, *, filled_with_zeros: bool = False
) -> torch.Tensor:
    """Put a group's rows beside each other, the heads that share a key together."""
    rows = part[group.tokens]
    if group.gather is not None and group.real is not None:
        if filled_with_zeros:
            filled = rows.new_zeros(group.rows * group.length, *rows.shape[1:])
            rows = filled.index_copy_(0, group.real, rows)
        else:
            rows = rows.index_select(0, group.gather)
    rows = rows.view(group.rows, group.length, heads.keys, -1, heads.size).transpose(1, 2)
    return rows.reshape(group.rows * heads.keys, -1, heads.size)


def _take_back(laid: torch.Tensor, group: Group, heads: Heads, target: torch.Tensor) -> None:
    """Write what was laid out into its place in the stream."""
    rows = laid.view(group.rows, heads.keys, group.length, -1, heads.size).transpose(1, 2)
    if group.real is None:
        place = target[group.tokens]
        place.view(rows.shape).copy_(rows)
    else:
        flat = rows.reshape(group.rows * group.length, *target.shape[1:])
        target[group.tokens] = flat.index_select(0, group.real)


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads, stream: Stream
) -> tuple[torch.Tensor, Any]:
    """Let torch's kernels calculate, and keep their own way back."""
    inputs = (
        query.detach().requires_grad_(),
        key.detach().requires_grad_(),
        value.detach().requires_grad_(),
    )
    with torch.enable_grad():
        if query.dtype in {torch.bfloat16, torch.float16}:
            out = _variable_lengths(inputs, heads, stream)
        else:
            out = _row_by_row(inputs, heads, stream)
    return out.detach(), (out, inputs)


def _variable_lengths(inputs: Inputs, heads: Heads, stream: Stream) -> torch.Tensor:
    """FlashAttention over all rows at once (Dao, 2023); it needs 16-bit numbers on a card."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = inputs
    ends, longest = stream.boundaries, max(stream.lengths)
    out: Any = varlen_attn(
        query,
        key,
        value,
        ends,
        ends,
        longest,
        longest,
        scale=heads.scaling,
        window_size=(-1, 0),
        enable_gqa=heads.shared_by > 1,
    )
    result: torch.Tensor = out
    return result


def _row_by_row(inputs: Inputs, heads: Heads, stream: Stream) -> torch.Tensor:
    """Ask torch's attention once for each row; right everywhere, quick nowhere."""
    rows = zip(*(part.split(list(stream.lengths)) for part in inputs), strict=True)
    return torch.cat(
        [
            functional.scaled_dot_product_attention(
                query.transpose(0, 1)[None],
                key.transpose(0, 1)[None],
                value.transpose(0, 1)[None],
                is_causal=True,
                scale=heads.scaling,
                enable_gqa=heads.shared_by > 1,
            )[0].transpose(0, 1)
            for query, key, value in rows
        ]
    )
