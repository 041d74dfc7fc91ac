"""A layer of a Llama-like model over a stream of tokens, with its way back written by hand.

The automatic way back keeps every intermediate result and passes through memory for each of them,
in tensors that are too large for the caches. Written by hand, it keeps what cannot be cheaply
calculated again, works in place, and leaves out the gradients of what is frozen.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from worker.training.packed.attention import Heads, attend, attend_backward
from worker.training.packed.linears import AdaptedLinears
from worker.training.packed.norm import RmsNorm
from worker.training.packed.rotary import Rotation
from worker.training.packed.stream import Stream

Gradients = list[torch.Tensor]


@dataclass(frozen=True)
class Attention:
    """x + o(attention(q, k, v of the normalised x)).

    Attributes:
        rotates: whether positions turn queries and keys in this layer.
        query_norm: of each head, in models that have it; so is key_norm.
    """

    norm: RmsNorm
    inputs: AdaptedLinears
    output: AdaptedLinears
    heads: Heads
    rotates: bool
    query_norm: RmsNorm | None
    key_norm: RmsNorm | None

    def forward(
        self, x: torch.Tensor, stream: Stream, rotation: Rotation
    ) -> tuple[torch.Tensor, Any]:
        narrow, narrow_out = self.inputs.narrow(), self.output.narrow()
        normal, factor = self.norm.forward(x)
        raw, seen = self.inputs.forward(normal, narrow)
        query, key, value, head_factors = self._turned(raw, rotation)
        answer, kept = attend(query, key, value, self.heads, stream)
        answer = answer.view(len(x), -1)
        y, seen_out = self.output.forward(answer, narrow_out, residual=x)
        # The head norms' way back needs what went into them; nothing else needs it again.
        raw_kept = raw if head_factors else None
        return y, (
            *(x, factor, normal, narrow, seen, raw_kept, head_factors),
            *(kept, answer, narrow_out, seen_out),
        )

    def backward(
        self,
        upstream: torch.Tensor,
        kept: Any,  # noqa: ANN401 (what forward kept)
        stream: Stream,
        rotation: Rotation,
        *,
        wants_input: bool,
    ) -> tuple[torch.Tensor | None, Gradients]:
        x, factor, normal, narrow, seen, raw, head_factors = kept[:7]
        of_attention, answer, narrow_out, seen_out = kept[7:]
        slope, out_gradients = self.output.backward(upstream, answer, seen_out, narrow_out)
        raw_slope = torch.empty(
            (len(x), (self.heads.queries + 2 * self.heads.keys), self.heads.size),
            dtype=x.dtype,
            device=x.device,
        )
        turned = torch.empty_like(raw_slope[:, : -self.heads.keys])
        query_slope, key_slope = self._split(turned)
        attend_backward(
            _required(slope).view(len(x), self.heads.queries, self.heads.size),
            of_attention,
            self.heads,
            stream,
            (query_slope, key_slope, raw_slope[:, -self.heads.keys :]),
        )
        if self.rotates:
            rotation.backwards().turn(turned, raw_slope[:, : -self.heads.keys])
        else:
            raw_slope[:, : -self.heads.keys] = turned
        if head_factors:
            self._head_norms_backward(raw_slope, raw, head_factors)
        normal_slope, in_gradients = self.inputs.backward(
            raw_slope.view(len(x), -1), normal, seen, narrow, wants_input=wants_input
        )
        if normal_slope is None:
            return None, in_gradients + out_gradients
        x_slope = self.norm.backward(normal_slope, x, factor).to(x.dtype).add_(upstream)
        return x_slope, in_gradients + out_gradients

    def _turned(
        self, raw: torch.Tensor, rotation: Rotation
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Return queries, keys and values by head, and what the head norms' way back needs."""
        by_head = raw.view(len(raw), -1, self.heads.size)
        turning, value = by_head[:, : -self.heads.keys], by_head[:, -self.heads.keys :]
        factors = []
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self._split(turning)
            query, query_factor = self.query_norm.forward(query)
            key, key_factor = self.key_norm.forward(key)
            turning, factors = torch.cat([query, key], dim=1), [query_factor, key_factor]
        if self.rotates:
            turned = torch.empty_like(turning, memory_format=torch.contiguous_format)
            rotation.turn(turning, turned)
            turning = turned
        query, key = self._split(turning)
        return query, key, value, factors

    def _head_norms_backward(
        self, slope: torch.Tensor, raw: torch.Tensor, factors: list[torch.Tensor]
    ) -> None:
        """Replace the gradients of the normalised queries and keys by those of the raw ones."""
        by_head = raw.view(len(raw), -1, self.heads.size)
        parts = zip(
            (self.query_norm, self.key_norm),
            self._split(slope[:, : -self.heads.keys]),
            self._split(by_head[:, : -self.heads.keys]),
            factors,
            strict=True,
        )
        for norm, part, before, factor in parts:
            if norm is not None:
                part.copy_(norm.backward(part, before, factor))

    def _split(self, turning: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return turning[:, : self.heads.queries], turning[:, self.heads.queries :]


@dataclass(frozen=True)
class GatedMlp:
    """x + down(silu(gate) * up), gate and up of the normalised x (Shazeer, 2020)."""

    norm: RmsNorm
    inputs: AdaptedLinears
    output: AdaptedLinears

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        narrow, narrow_out = self.inputs.narrow(), self.output.narrow()
        normal, factor = self.norm.forward(x)
        both, seen = self.inputs.forward(normal, narrow)
        gate, up = both.chunk(2, dim=-1)
        open_gate = functional.silu(gate)
        y, seen_out = self.output.forward(open_gate * up, narrow_out, residual=x)
        return y, (x, factor, normal, narrow, seen, both, open_gate, narrow_out, seen_out)

    def backward(
        self,
        upstream: torch.Tensor,
        kept: Any,  # noqa: ANN401 (what forward kept)
    ) -> tuple[torch.Tensor, Gradients]:
        x, factor, normal, narrow, seen, both, open_gate, narrow_out, seen_out = kept
        gate, up = both.chunk(2, dim=-1)
        maybe_slope, out_gradients = self.output.backward(
            upstream, open_gate * up, seen_out, narrow_out
        )
        slope = _required(maybe_slope)
        both_slope = torch.empty_like(both)
        gate_slope, up_slope = both_slope.chunk(2, dim=-1)
        torch.mul(slope, open_gate, out=up_slope)
        torch.ops.aten.silu_backward.grad_input(slope.mul_(up), gate, grad_input=gate_slope)
        normal_slope, in_gradients = self.inputs.backward(both_slope, normal, seen, narrow)
        x_slope = self.norm.backward(_required(normal_slope), x, factor).to(x.dtype)
        return x_slope.add_(upstream), in_gradients + out_gradients


@dataclass(frozen=True)
class Layer:
    """Attention and MLP, one after the other."""

    attention: Attention
    mlp: GatedMlp

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return what is trained, in the order in which the way back returns gradients."""
        parts = (self.attention.inputs, self.attention.output, self.mlp.inputs, self.mlp.output)
        return [parameter for part in parts for parameter in part.parameters()]

    def forward(
        self, x: torch.Tensor, stream: Stream, rotation: Rotation
    ) -> tuple[torch.Tensor, Any, Any]:
        """Return the layer's output, and what its two parts keep for the way back."""
        middle, of_attention = self.attention.forward(x, stream, rotation)
        y, of_mlp = self.mlp.forward(middle)
        return y, of_attention, of_mlp

    def __call__(
        self, x: torch.Tensor, stream: Stream, rotation: Rotation, *, recomputes: bool = False
    ) -> torch.Tensor:
        apply: Any = _LayerFunction.apply
        result: torch.Tensor = apply(x, self, stream, rotation, recomputes, *self.parameters())
        return result


class _LayerFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        x: torch.Tensor,
        layer: Layer,
        stream: Stream,
        rotation: Rotation,
        recomputes: bool,  # noqa: FBT001 (torch's functions know no keywords)
        *parameters: torch.Tensor,  # noqa: ARG004 (the layer knows them; torch must see them)
    ) -> torch.Tensor:
        y, of_attention, of_mlp = layer.forward(x, stream, rotation)
        if any(ctx.needs_input_grad):
            ctx.layer, ctx.stream, ctx.rotation = layer, stream, rotation
            ctx.input = x if recomputes else None
            ctx.kept = None if recomputes else (of_attention, of_mlp)
        return y

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:  # noqa: ANN401
        layer: Layer = ctx.layer
        if ctx.input is not None:
            _, *ctx.kept = layer.forward(ctx.input, ctx.stream, ctx.rotation)
            ctx.input = None
        # Taken away, so that the memory of each layer is free as soon as it is done with.
        (of_attention, of_mlp), ctx.kept = ctx.kept, None
        middle, of_mlp_gradients = layer.mlp.backward(upstream, of_mlp)
        del of_mlp
        x_slope, gradients = layer.attention.backward(
            middle, of_attention, ctx.stream, ctx.rotation, wants_input=ctx.needs_input_grad[0]
        )
        return x_slope, None, None, None, None, *gradients, *of_mlp_gradients


def _required(slope: torch.Tensor | None) -> torch.Tensor:
    if slope is None:
        raise RuntimeError("a gradient that was asked for was not calculated")
    return slope
