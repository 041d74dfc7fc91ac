"""Gradients as a few long rows of numbers, because each exchange costs time however short it is."""

from collections.abc import Iterable, Iterator

import torch


def in_pieces(weights: Iterable[torch.Tensor], most: int) -> Iterator[list[torch.Tensor]]:
    """Yield groups of flat views of all gradients, each group of at most so many numbers.

    A weight without a gradient gets one of zeros: another process may have found more.
    """
    group: list[torch.Tensor] = []
    numbers = 0
    for weight in weights:
        for part in _flat_gradient(weight).split(most):
            if group and numbers + len(part) > most:
                yield group
                group, numbers = [], 0
            group.append(part)
            numbers += len(part)
    if group:
        yield group


def _flat_gradient(weight: torch.Tensor) -> torch.Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    elif not weight.grad.is_contiguous():
        weight.grad = weight.grad.contiguous()
    return weight.grad.view(-1)
