"""Rows of different lengths as one stream of tokens, without filling.

Everything in a transformer but attention looks at one token at a time, so rows can simply follow
each other. Attention goes row by row; rows of like length go together, because small products are
slow: the shorter ones are filled up there, and only there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import torch

_MOST_TOKENS_OF_A_GROUP: Final = 2048
# A row may stay out of a group's longest by so much: filling costs less than a group of its own.
_SPARED_TOKENS: Final = 16
_SPARED_PART: Final = 8


@dataclass(frozen=True)
class Group:
    """Neighbouring rows that attention treats together.

    Attributes:
        tokens: their place in the stream.
        rows: how many they are.
        length: of the longest.
        gather: for each place of (rows, length) the token in the stream; None if all are as long.
        real: the places of (rows, length) that are no filling; None if all are as long.
    """

    tokens: slice
    rows: int
    length: int
    gather: torch.Tensor | None
    real: torch.Tensor | None


@dataclass(frozen=True)
class Stream:
    """Where each row stands in the stream.

    Attributes:
        lengths: of the rows, in their order.
        positions: for each token its place in its row.
        groups: all rows, in their order.
    """

    lengths: tuple[int, ...]
    positions: torch.Tensor
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Self:
        positions = torch.cat([torch.arange(length) for length in lengths])
        groups, start = [], 0
        for members in _alike(lengths):
            groups.append(_group(members, start, device))
            start += sum(members)
        return cls(tuple(lengths), positions.to(device), tuple(groups))

    @cached_property
    def boundaries(self) -> torch.Tensor:
        """Where each row begins, and the end of the last: (rows + 1,), int32."""
        ends = torch.tensor([0, *self.lengths]).cumsum(0)
        return ends.to(self.positions.device, torch.int32)


def _alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Divide into neighbours of like length."""
    members: list[int] = []
    for length in lengths:
        longest, shortest = max([*members, length]), min([*members, length])
        spared = max(_SPARED_TOKENS, longest // _SPARED_PART)
        if members and (
            longest - shortest > spared or longest * (len(members) + 1) > _MOST_TOKENS_OF_A_GROUP
        ):
            yield members
            members = []
        members.append(length)
    yield members


def _group(members: list[int], start: int, device: torch.device) -> Group:
    length, tokens = max(members), slice(start, start + sum(members))
    if min(members) == length:
        return Group(tokens, len(members), length, None, None)
    sizes = torch.tensor(members)
    starts = sizes.cumsum(0) - sizes
    places = torch.arange(length)
    # A filled place repeats the row's last token: any finite value will do, for no real token
    # looks to its right.
    gather = starts[:, None] + torch.minimum(places[None], sizes[:, None] - 1)
    real = (places[None] < sizes[:, None]).reshape(-1).nonzero()[:, 0]
    return Group(tokens, len(members), length, gather.reshape(-1).to(device), real.to(device))
