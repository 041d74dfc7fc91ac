"""Several processes that train one run: what they tell each other while they calculate.

Each has a device and the whole of what is learned. Of an update's examples each takes a share, the
gradients are added up, and all make the same step, so nothing but gradients and counts is ever
exchanged. Whatever depends on the time or on a person is decided by one of them, the lead.

Small numbers travel in one shape only, with a place for “my memory ran short”: so whoever falls
short never leaves the others waiting for an answer to another question.
"""

import os
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from worker.training import failures, random_state
from worker.training.team.pieces import in_pieces
from worker.training.team.shares import shares_of
from worker.training.tokens import Counts

T = TypeVar("T")

_MOST_NUMBERS: Final = 7
# Gradients are gathered in pieces, so that a large model's are not held twice.
_PIECE_NUMBERS: Final = 8 * 1024**2
# The lead saves checkpoints and its result alone, while the others wait for what comes next.
_LONGEST_SILENCE: Final = timedelta(minutes=30)
_SECONDS_TO_BE_ENDED: Final = 30.0


class ShortElsewhereError(MemoryError):
    """Another process of the team ran out of memory, so that all of them have to begin anew."""


class Team:
    """A team of one: nobody to ask, nobody to tell. `JoinedTeam` has more.

    Attributes:
        rank: which of its processes this is; 0 is the lead.
        size: how many there are.
        mesh: over which the base model's layers are divided; None where each process has them all.
            Divided, no layer calculates without all processes, so each must make as many passes
            through the model as the others.
    """

    rank = 0
    size = 1
    mesh: DeviceMesh | None = None

    @property
    def is_lead(self) -> bool:
        return self.rank == 0

    @property
    def is_divided(self) -> bool:
        return self.mesh is not None

    def shares(self, rows: Sequence[int], lengths: Counts) -> list[list[int]]:
        """Return who reads which of an update's rows, which are of such lengths."""
        return shares_of(rows, lengths, self.size)

    def groups(self, groups: Sequence[T]) -> Sequence[T]:
        """Return this process's share of things of which neighbours take equally long."""
        return groups[self.rank :: self.size]

    def idle_groups(self, count: int) -> int:
        """Return how many groups fewer than others this process has, of so many in all."""
        return -(-count // self.size) - len(range(self.rank, count, self.size))

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Do what takes much of the host's memory one process after the other."""
        yield

    def sum(self, *values: float) -> tuple[float, ...]:
        """Return the sums over all processes, the same in each.

        Raises:
            ShortElsewhereError: if one of them says that it ran short meanwhile.
        """
        return values

    def say_short(self) -> None:
        """Tell the others, in place of the next thing they expect, that memory ran short here."""

    def lead_says(self, *, here: bool) -> bool:
        """Return what the lead decided, whatever would be decided here."""
        return here

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes, in its place."""
        return tensor

    def sum_gradients(self, weights: Iterable[torch.Tensor]) -> None:
        """Add up the gradients over all processes, in their places."""

    def draw_apart(self, seed: int, step: int) -> None:
        """See to it that no two processes draw the same random numbers in an update."""


ALONE: Final = Team()


class JoinedTeam(Team):
    """One of several processes, which have found each other by now."""

    def __init__(self, rank: int, size: int, mesh: DeviceMesh | None) -> None:
        self.rank = rank
        self.size = size
        self.mesh = mesh

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        for _ in range(self.rank):
            self.sum()
        yield
        for _ in range(self.rank, self.size):
            self.sum()

    def sum(self, *values: float) -> tuple[float, ...]:
        short, *sums = self._exchange([0.0, *values])
        if short:
            raise ShortElsewhereError("out of memory in another process of the team")
        return tuple(sums)

    def say_short(self) -> None:
        self._exchange([1.0])

    def lead_says(self, *, here: bool) -> bool:
        return self.sum(float(here and self.is_lead))[0] > 0

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        self.sum()
        self._add_up(tensor)
        return tensor

    @torch.no_grad()
    def sum_gradients(self, weights: Iterable[torch.Tensor]) -> None:
        weights = list(weights)
        most = min(_PIECE_NUMBERS, sum(weight.numel() for weight in weights))
        piece = torch.empty(most, dtype=torch.float32, device=weights[0].device)
        # Nobody begins before all have room for it.
        self.sum()
        for group in in_pieces(weights, most):
            sizes = [len(part) for part in group]
            total = piece[: sum(sizes)]
            torch.cat(group, out=total)
            self._add_up(total)
            for part, sums in zip(group, total.split(sizes), strict=True):
                part.copy_(sums)

    def draw_apart(self, seed: int, step: int) -> None:
        # The lead's random state is carried by checkpoints; the others' follows from the step.
        if not self.is_lead:
            random_state.seed_everything(random_state.derived_seed(seed, self.rank, step))

    def _exchange(self, values: list[float]) -> list[float]:
        padding = [0.0] * (1 + _MOST_NUMBERS - len(values))
        numbers = torch.tensor(values + padding, dtype=torch.float64)
        self._add_up(numbers)
        return numbers.tolist()[: len(values)]

    def _add_up(self, tensor: torch.Tensor) -> None:
        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            # Whoever is gone, the lead's `Members` says why, and ends the lead and so all of us.
            threading.Event().wait(_SECONDS_TO_BE_ENDED)
            raise failures.team_fell_apart(str(error)) from error


def join(rank: int, size: int, place: Path, *, divides: bool = False) -> JoinedTeam:
    """Find the other processes, and wait until all have come.

    Args:
        rank: which of them this is.
        size: how many there are.
        place: a folder in which they find each other; it is the lead's to make.
        divides: whether the base model's layers are divided among them.
    """
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        # What they say is for nobody outside of this machine.
        os.environ.setdefault(name, _loopback())
    has_cards = torch.cuda.is_available()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if has_cards else "gloo",
        init_method=f"file://{place / 'store'}",
        rank=rank,
        world_size=size,
        timeout=_LONGEST_SILENCE,
    )
    kind = "cuda" if has_cards else "cpu"
    return JoinedTeam(rank, size, init_device_mesh(kind, (size,)) if divides else None)


def _loopback() -> str:
    names = {name for _, name in socket.if_nameindex()}
    return "lo" if "lo" in names else "lo0"
