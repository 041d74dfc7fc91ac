"""When memory runs short, less is read at once; what is learned stays the same.

An update's gradient is a sum over micro-batches, and so is the held-out loss. Smaller micro-batches
give the same sums and need less memory, so a run that does not fit goes on with half as much at
once, and half of that, until each row stands alone.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

from worker.training import failures
from worker.training.progress import RunState

T = TypeVar("T")


class MemoryBudget:
    """How many tokens go through the model at once, and what is done when that was too many.

    Args:
        most_tokens: what the recipe allows, padding included.
        longest_row: tokens of the longest row; below it nothing more can be divided.
        state: remembers the halvings, so that a run that goes on does not run short again.
        device: where the memory is.
        warn: is told in a sentence when less is read from here on.
    """

    def __init__(
        self,
        most_tokens: int,
        longest_row: int,
        state: RunState,
        device: torch.device,
        warn: Callable[[str], None],
    ) -> None:
        self._most_tokens = most_tokens
        self._longest_row = longest_row
        self._state = state
        self._device = device
        self._warn = warn

    @property
    def tokens(self) -> int:
        return self._most_tokens >> self._state.memory_halvings

    def within(self, work: Callable[[int], T]) -> T:
        """Do a piece of work that can begin anew, with fewer tokens at once where memory is short.

        Args:
            work: is given the tokens that may go through the model at once.

        Raises:
            Exception: what the work raised, if it was something else or nothing is left to divide.
        """
        while True:
            try:
                return work(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if not failures.is_out_of_memory(error) or self.tokens <= self._longest_row:
                    raise
            # Outside of the handler: what the failed attempt held is free only now.
            self._halve()

    def _halve(self) -> None:
        self._state.memory_halvings += 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._warn(
            "Memory ran short, so less is read at once from here on. What is learned stays the "
            "same; it only takes longer."
        )
