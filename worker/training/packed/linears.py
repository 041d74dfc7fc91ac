"""Frozen linear layers that read the same input, with their adapters, as one matrix product.

Queries, keys and values (and the two halves of a gated MLP) are three (two) products of one input.
Small products leave a processor idle, so the frozen weights are put under each other once and
multiplied together; the layers' own weights become views of the whole, so nothing is held twice.
Their adapters (LoRA, Hu et al. 2021) are put together as well: all A under each other, all B as
the blocks of a block diagonal. They stay float32 and are rounded to the input's format for the
products only, whose sums oneDNN and cuBLAS keep in float32.
"""

from typing import Any, NamedTuple, Self

import torch
from peft.tuners.lora.layer import Linear as LoraLinear

ADAPTER = "default"


class Narrow(NamedTuple):
    """The adapters' weights of one pass: a is (ranks, inputs), b is (outputs, ranks), scaled."""

    a: torch.Tensor
    b: torch.Tensor


class AdaptedLinears:
    """One frozen product and the adapters on its parts.

    Args:
        layers: `torch.nn.Linear`, or peft's LoRA layer around one, all with the same input.
    """

    def __init__(self, layers: list[Any]) -> None:
        frozen = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weight = _as_one([layer.weight for layer in frozen])
        self.bias = _biases(frozen)
        self._outputs = [len(layer.weight) for layer in frozen]
        self._layers = layers

    @classmethod
    def of(cls, module: torch.nn.Module, names: tuple[str, ...]) -> Self:
        return cls([getattr(module, name) for name in names])

    @property
    def adapted(self) -> list[Any]:
        """The layers that wear an adapter that is switched on."""
        return [layer for layer in self._layers if _is_adapted(layer)]

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return A and B of each adapter, in the order in which `backward` returns gradients."""
        return [
            matrix[ADAPTER].weight
            for layer in self.adapted
            for matrix in (layer.lora_A, layer.lora_B)
        ]

    def narrow(self) -> Narrow | None:
        """Return the adapters' weights as two matrices, None if there are none."""
        adapted = self.adapted
        if not adapted:
            return None
        a = torch.cat([layer.lora_A[ADAPTER].weight for layer in adapted])
        b = a.new_zeros(len(self.weight), len(a))
        for layer, outputs, ranks in self._blocks():
            torch.mul(layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER], out=b[outputs, ranks])
        return Narrow(a.to(self.weight.dtype), b.to(self.weight.dtype))

    def forward(
        self, x: torch.Tensor, narrow: Narrow | None, residual: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the product (plus a residual), and what the adapters saw, for the way back.

        Args:
            x: (tokens, inputs).
            narrow: the adapters' weights.
            residual: (tokens, outputs), added.
        """
        if residual is None:
            y = torch.nn.functional.linear(x, self.weight, self.bias)
        else:
            y = torch.addmm(residual, x, self.weight.t())
            if self.bias is not None:
                y.add_(self.bias)
        if narrow is None:
            return y, None
        seen = x @ narrow.a.t()
        return y.addmm_(seen, narrow.b.t()), seen

    def backward(
        self,
        upstream: torch.Tensor,
        x: torch.Tensor,
        seen: torch.Tensor | None,
        narrow: Narrow | None,
        *,
        wants_input: bool = True,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Return the gradient of x (unless nobody wants it), and those of the adapters."""
        slope = upstream @ self.weight if wants_input else None
        if narrow is None or seen is None:
            return slope, []
        narrow_slope = upstream @ narrow.b
        if slope is not None:
            slope.addmm_(narrow_slope, narrow.a)
        a_slope = (narrow_slope.t() @ x).float()
        # Read in the order in which it lies, the wide one goes through memory sooner.
        b_slope = (seen.t() @ upstream).t().float().contiguous()
        gradients = []
        for layer, outputs, ranks in self._blocks():
            gradients += [a_slope[ranks], b_slope[outputs, ranks] * layer.scaling[ADAPTER]]
        return slope, gradients

    def _blocks(self) -> list[tuple[Any, slice, slice]]:
        """Return each adapted layer with its place among the outputs and among the ranks."""
        blocks, output, rank = [], 0, 0
        for layer, outputs in zip(self._layers, self._outputs, strict=True):
            if _is_adapted(layer):
                ranks = layer.r[ADAPTER]
                blocks.append((layer, slice(output, output + outputs), slice(rank, rank + ranks)))
                rank += ranks
            output += outputs
        return blocks


def is_suitable(layer: Any) -> bool:  # noqa: ANN401 (peft ships no types)
    """Say whether a layer is a frozen linear one, bare or with one plain LoRA adapter."""
    if type(layer) is torch.nn.Linear:
        return not layer.weight.requires_grad
    return (
        type(layer) is LoraLinear
        and type(layer.base_layer) is torch.nn.Linear
        and list(layer.lora_A) == [ADAPTER]
        and ADAPTER not in layer.lora_variant
        and not layer.lora_bias[ADAPTER]
        and isinstance(layer.lora_dropout[ADAPTER], torch.nn.Identity)
    )


def _is_adapted(layer: Any) -> bool:  # noqa: ANN401 (peft ships no types)
    return isinstance(layer, LoraLinear) and not layer.disable_adapters


def _as_one(weights: list[torch.nn.Parameter]) -> torch.Tensor:
    """Put weights under each other and let each be a view of the whole."""
    if len(weights) == 1:
        return weights[0].data
    whole = torch.cat([weight.data for weight in weights])
    for weight, part in zip(weights, whole.split([len(weight) for weight in weights]), strict=True):
        weight.data = part
    return whole


def _biases(layers: list[Any]) -> torch.Tensor | None:
    """Return the biases after each other, with zeros for a layer without one."""
    if all(layer.bias is None for layer in layers):
        return None
    zeros = layers[0].weight.new_zeros
    return torch.cat(
        [zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers]
    )
