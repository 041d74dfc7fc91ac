"""Muon for the weight matrices: it learns from about half the text that AdamW needs.

Written out here because torch's own computes in bf16, which is slow on CPUs without AMX,
and one matrix at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal; matrices of one shape go together."""

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(list(params), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                directions = orthogonal(self._momenta(parameters, group["momentum"]))
                # This factor gives a step of the size that AdamW would take.
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-rate)

    def _momenta(self, parameters: list[torch.nn.Parameter], momentum: float) -> torch.Tensor:
        directions: list[torch.Tensor] = []
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None:
                raise ValueError("Muon was given a matrix without a gradient.")
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(gradient)
            kept = state["momentum"].lerp_(gradient, 1 - momentum)
            directions.append(gradient.lerp(kept, momentum))
        return torch.stack(directions)


def orthogonal(stack: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz: pulls all singular values of each matrix towards one."""
    tall = stack.shape[-2] > stack.shape[-1]
    matrices: torch.Tensor = stack.mT if tall else stack
    matrices = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    first, second, third = _QUINTIC
    for _ in range(_ROUNDS):
        square = matrices @ matrices.mT
        matrices = first * matrices + (second * square + third * square @ square) @ matrices
    return matrices.mT if tall else matrices
