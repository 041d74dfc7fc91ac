"""Threads of a processor that go through the model side by side, each with rows of its own.

Threads that share one product wait for each other at its end, several hundred times in a pass, and
what stands between the products hardly divides: two of them did the work of 1.6. Beside each other
they did that of two (docs/benchmarks.md). The weights are held once, and torch lets go of Python's
lock for as long as it calculates.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, Generic, TypeVar

import torch

from app.runs.costs.batching import most_lanes, relative_seconds
from worker.training.team.shares import shares_of
from worker.training.tokens import Counts

T = TypeVar("T")
Item = TypeVar("Item")


class Lanes:
    """So many threads, for one product or for several.

    Whatever is done in lanes may not draw random numbers: which would be whose is not known.

    Args:
        threads: that take part in one product where there is one lane only.

    Attributes:
        most: how many lanes there can be.
        busy_seconds: processor time of the lane that took longest, of all that was done in several;
            on a machine where nothing else runs, the time on the clock.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self.most = most_lanes(threads)
        self.busy_seconds = 0.0
        self._pool = ThreadPoolExecutor(self.most, thread_name_prefix="lane")

    def shares(self, rows: Sequence[int], lengths: Counts, most_tokens: int) -> list[list[int]]:
        """Divide an update's rows so that all lanes together are done soonest.

        Args:
            rows: of the update.
            lengths: of all rows, in tokens.
            most_tokens: that all lanes together may have in hand; a lane has its part of them.
        """
        sizes = [int(lengths[row]) for row in rows]
        best, best_seconds = [list(rows)], relative_seconds(sum(sizes), self._threads, 1)
        for count in range(2, self.most_for(most_tokens, max(sizes, default=0), len(rows)) + 1):
            shares = shares_of(rows, lengths, count)
            largest = max(sum(int(lengths[row]) for row in share) for share in shares)
            seconds = relative_seconds(largest, self._threads, count)
            if seconds < best_seconds:
                best, best_seconds = shares, seconds
        return best

    def most_for(self, most_tokens: int, longest: int, items: int) -> int:
        """Return how many lanes there can be, if each has room for the longest item."""
        return max(1, min(self.most, items, most_tokens // max(1, longest)))

    def each(self, items: Sequence[Item], work: Callable[[Item], T], lanes: int) -> list[T]:
        """Do the same with each item, so many at a time, and return what came of each, in order.

        Raises:
            Exception: the first that an item raised, after all lanes have ended.
        """
        if lanes == 1 or len(items) < 2:
            return [work(item) for item in items]
        return _Round(items, work, max(1, self._threads // lanes)).go(self, lanes)

    def start(self, work: Callable[[], float]) -> Future[float]:
        return self._pool.submit(work)


ONE_LANE: Final = Lanes(1)


class _Round(Generic[Item, T]):
    """Items of which each lane takes the next as soon as it is done with one."""

    def __init__(self, items: Sequence[Item], work: Callable[[Item], T], threads: int) -> None:
        self._items: Iterator[tuple[int, Item]] = iter(enumerate(items))
        self._work = work
        self._threads = threads
        self._lock = threading.Lock()
        self._found: dict[int, T] = {}

    def go(self, lanes: Lanes, count: int) -> list[T]:
        futures = [lanes.start(self._lane) for _ in range(count)]
        wait(futures)
        lanes.busy_seconds += max(future.result() for future in futures)
        return [self._found[place] for place in sorted(self._found)]

    def _lane(self) -> float:
        """Take items until there are none; return the processor time that it took."""
        # A new thread would take up the number of the others at its first product otherwise.
        torch.get_num_threads()
        torch.set_num_threads(self._threads)
        started = time.thread_time()
        while (found := self._next()) is not None:
            place, item = found
            try:
                self._found[place] = self._work(item)
            except BaseException:
                self._items = iter(())
                raise
        return time.thread_time() - started

    def _next(self) -> tuple[int, Item] | None:
        with self._lock:
            return next(self._items, None)
