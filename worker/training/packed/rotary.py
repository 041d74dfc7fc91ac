"""Rotary position embeddings (Su et al., 2021), forwards and backwards."""

from typing import NamedTuple, Self

import torch


class Rotation(NamedTuple):
    """Cosine and sine of each token's angles: (tokens, 1, half a head)."""

    cosine: torch.Tensor
    sine: torch.Tensor

    @classmethod
    def of(cls, cosine: torch.Tensor, sine: torch.Tensor) -> Self:
        """Take a model's own tables, (1, tokens, size of a head), whose halves are the same."""
        half = cosine.shape[-1] // 2
        return cls(cosine[0, :, None, :half].contiguous(), sine[0, :, None, :half].contiguous())

    def backwards(self) -> "Rotation":
        return Rotation(self.cosine, -self.sine)

    def turn(self, x: torch.Tensor, into: torch.Tensor) -> None:
        """Turn x, (tokens, heads, size), and write the result into another tensor."""
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        torch.mul(first, self.cosine, out=into[..., :half])
        into[..., :half].addcmul_(second, self.sine, value=-1.0)
        torch.mul(second, self.cosine, out=into[..., half:])
        into[..., half:].addcmul_(first, self.sine)
