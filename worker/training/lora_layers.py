"""LoRA's forward and backward pass with fewer trips through memory.

peft calculates `base(x) + lora_B(lora_A(x)) * scaling` in steps, each of which reads and writes an
activation as large as the layer's output; the same happens backwards. Here the small product is
added to the large one in place. The numbers are the same but for the order of rounding. Only the
plain case is taken over: float32, no dropout, one adapter; everything else stays with peft.
"""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear


class _LoraProduct(torch.autograd.Function):
    """x W' + bias + scaling * (x A') B', for a W that is not trained and a flat x.

    It gives no view of its result: some models go on to change what they are given in place.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        flat: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        narrow = flat @ a.t()
        y = torch.nn.functional.linear(flat, weight, bias)
        y.addmm_(narrow, b.t(), alpha=scaling)
        ctx.save_for_backward(flat, weight, a, b, narrow)
        ctx.scaling = scaling
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # noqa: ANN401
        flat, weight, a, b, narrow = ctx.saved_tensors
        narrow_gradient = gradient @ b
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = gradient @ weight
            x_gradient.addmm_(narrow_gradient, a, alpha=ctx.scaling)
        a_gradient = (narrow_gradient.t() @ flat).mul_(ctx.scaling)
        b_gradient = (gradient.t() @ narrow).mul_(ctx.scaling)
        return x_gradient, None, None, a_gradient, b_gradient, None


def speed_up(model: torch.nn.Module, adapter: str = "default") -> int:
    """Let every plain LoRA layer calculate as above; return how many there are."""
    count = 0
    for layer in model.modules():
        if _is_plain(layer, adapter):
            layer.forward = _forward(layer, adapter, layer.forward)
            count += 1
    return count


def _is_plain(layer: Any, adapter: str) -> bool:  # noqa: ANN401 (peft ships no types)
    return (
        type(layer) is Linear
        and type(layer.base_layer) is torch.nn.Linear
        and layer.base_layer.weight.dtype == torch.float32
        and list(layer.lora_A) == [adapter]
        and adapter not in layer.lora_variant
        and not layer.lora_bias[adapter]
        and isinstance(layer.lora_dropout[adapter], torch.nn.Identity)
    )


def _forward(
    layer: Any,  # noqa: ANN401 (peft ships no types)
    adapter: str,
    slowly: Callable[..., torch.Tensor],
) -> Callable[..., torch.Tensor]:
    product: Any = _LoraProduct.apply

    def forward(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
        if layer.disable_adapters or layer.merged or arguments or options:
            return slowly(x, *arguments, **options)
        result: torch.Tensor = product(
            x.reshape(-1, x.shape[-1]),
            layer.base_layer.weight,
            layer.base_layer.bias,
            layer.lora_A[adapter].weight,
            layer.lora_B[adapter].weight,
            layer.scaling[adapter],
        )
        return result.view(*x.shape[:-1], -1)

    return forward
