"""Root mean square normalisation (Zhang, Sennrich, 2019), forwards and backwards, in few passes.

The weight is frozen, so only the gradient of what goes in is calculated. All sums are float32,
as in the models' own code, and each large intermediate result is made once and reused in place.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RmsNorm:
    """weight * x / sqrt(mean(x²) + epsilon), over the last dimension."""

    weight: torch.Tensor
    epsilon: float

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised values, and each row's factor (float32), for the way back."""
        wide = x.to(torch.float32, copy=True)
        factor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        factor = factor.square_().div_(x.shape[-1]).add_(self.epsilon).rsqrt_()
        normal = wide.mul_(factor).to(x.dtype)
        return normal.mul_(self.weight), factor

    def backward(
        self, upstream: torch.Tensor, x: torch.Tensor, factor: torch.Tensor
    ) -> torch.Tensor:
        """Return the gradient of x in float32, a tensor of its own."""
        slope = upstream.to(torch.float32, copy=True).mul_(self.weight.float())
        wide = x.float()
        along = (slope * wide).sum(dim=-1, keepdim=True)
        along.mul_(factor.pow(3)).div_(x.shape[-1])
        return slope.mul_(factor).addcmul_(wide, along, value=-1.0)
