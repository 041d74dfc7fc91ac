"""When memory runs short, the run goes down a ladder; what is learned stays the same, if it can.

1. Half as many tokens go through the model at once, and half of that, until each row stands alone.
   An update's gradient is a sum over micro-batches, and so is the held-out loss: smaller ones give
   the same sums.
2. Activations are calculated twice instead of being kept (`recompute.py`), to the same bits.
3. A fresh process holds the base model in 4 bits, where owner, method and device allow it. This
   alone changes a little what is learned, so it comes last, and the page says so.

Below that nothing is left, and the run ends with what would fit. A processor's memory is looked at
before each micro-batch, because there the kernel gives no error: it ends the process.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

import torch

from worker.device_memory import give_back
from worker.free_memory import free_ram_bytes, total_ram_bytes
from worker.memory_notes import MemoryNotes
from worker.training import failures
from worker.training.progress import RunState
from worker.training.team.team import ALONE, ShortElsewhereError, Team

T = TypeVar("T")

# A look reads a dozen files of the kernel, which takes a millisecond or two.
_SECONDS_BETWEEN_LOOKS: Final = 0.5
# So much stays free for everyone: the less there is in all, the less of it.
_RESERVE_BYTES: Final = 256 * 1024**2
_RESERVE_SHARE: Final = 1 / 16
_SHORTEST_ROW: Final = 32

LESS_AT_ONCE: Final = (
    "Memory ran short, so less is read at once. What is learned stays the same; it only takes "
    "longer."
)
CALCULATED_TWICE: Final = (
    "Memory ran short, so the examples are read one by one and a part of the calculation is done "
    "twice instead of being kept. What is learned stays the same; it takes longer, by a third or "
    "more."
)


IN_FOUR_BITS: Final = (
    "There was too little memory for the base model as it is, so it is held in 4 bits. How many "
    "examples each step learns from stays the same; the model is a little less exact while it "
    "learns, and it takes longer."
)


class MemoryReports(Protocol):
    """Who is told what was done."""

    def memory(self, note: str) -> None: ...


class _ShortMemoryError(MemoryError):
    """The memory of the machine is all but used up; the kernel would end the process soon."""


@dataclass(frozen=True)
class Ways:
    """What a model can do when memory is short.

    Attributes:
        recompute: makes it keep less; None where it cannot.
        probe: goes through it, forward and back, with one item whose rows have so many tokens.
        longest_row: the tokens of the longest row there is; only shorter ones are worth a try.
    """

    recompute: Callable[[], None] | None
    probe: Callable[[int], None] | None
    longest_row: int = 0


class MemoryBudget:
    """How many tokens go through the model at once, and what is done when that was too many.

    Args:
        most_tokens: what the recipe allows, padding included.
        longest_item: tokens of the largest item; below it nothing more can be divided.
        state: remembers the rung, so that a run that goes on does not run short again.
        device: where the memory is.
        reports: is told in a sentence what is done from here on.
        run_folder: keeps the rung for an attempt after this one.
        team: who goes down together; where one process runs short, all begin the work anew.
        ways: what can be done besides reading less at once.
    """

    def __init__(
        self,
        most_tokens: int,
        longest_item: int,
        state: RunState,
        device: torch.device,
        reports: MemoryReports,
        run_folder: Path,
        *,
        team: Team = ALONE,
        ways: Ways,
    ) -> None:
        self._most_tokens = most_tokens
        self._longest_item = longest_item
        self._state = state
        self._device = device
        self._reports = reports
        self._folder = run_folder
        self._team = team
        self._recompute = ways.recompute
        self._probe = ways.probe
        self._longest_row = ways.longest_row
        self._halvings = sum(1 for _ in _halvings(most_tokens, longest_item))
        self._lowest = self._halvings + (ways.recompute is not None)
        self._next_look = 0.0
        self._told = ""
        self._begin()

    @property
    def tokens(self) -> int:
        return self._most_tokens >> min(self._state.memory_rung, self._halvings)

    @property
    def recomputes(self) -> bool:
        return self._state.memory_rung > self._halvings

    def within(self, work: Callable[[int], T]) -> T:
        """Do a piece of work that can begin anew, with less memory where memory is short.

        Args:
            work: is given the tokens that may go through the model at once.

        Raises:
            TrainingFailureError: if nothing is left to do without: once so that a fresh process
                tries the smallest form from its beginning, then for good, with what would fit.
        """
        # What is begun anew must draw the random numbers of the first attempt.
        random = self._random_state()
        while True:
            try:
                result = work(self.tokens)
                # Nobody goes on while another one has to begin anew.
                self._team.sum()
            except (RuntimeError, MemoryError) as error:
                if not failures.is_out_of_memory(error):
                    raise
                details = str(error)
                if self._team.is_divided:
                    raise self._short_in_the_middle(details) from error
                if not isinstance(error, ShortElsewhereError):
                    self._team.say_short()
            else:
                return result
            # Outside of the handler: what the failed attempt held is free only now.
            give_back()
            if self._state.memory_rung >= self._lowest:
                raise self._nothing_left_here(details)
            self._go_down()
            self._restore(random)

    def if_it_fits(self, work: Callable[[], object]) -> None:
        """Do what a run can do without, and let it be where memory is too short for it.

        Args:
            work: keeps what it has found by itself, as it may end in the middle.

        Raises:
            TrainingFailureError: in a divided team, where the others wait in the middle of a layer.
        """
        try:
            work()
            # Nobody goes on while another one has to let it be.
            self._team.sum()
        except (RuntimeError, MemoryError) as error:
            if not failures.is_out_of_memory(error):
                raise
            if self._team.is_divided:
                raise self._short_in_the_middle(str(error)) from error
            if not isinstance(error, ShortElsewhereError):
                self._team.say_short()
        else:
            return
        give_back()

    def look(self) -> None:
        """Go down before the kernel ends the process. Called between micro-batches.

        Raises:
            MemoryError: for `within`, if hardly any memory is left and something can be done.
        """
        if self._device.type != "cpu" or self._state.memory_rung >= self._lowest:
            return
        moment = time.monotonic()
        if moment < self._next_look:
            return
        self._next_look = moment + _SECONDS_BETWEEN_LOOKS
        free = free_ram_bytes()
        if free < min(_RESERVE_BYTES, total_ram_bytes() * _RESERVE_SHARE):
            raise _ShortMemoryError(f"out of memory soon: {free:,} bytes are free")

    def _begin(self) -> None:
        """Take up what an earlier attempt found out, and leave word for a later one."""
        notes = MemoryNotes.read(self._folder)
        self._state.memory_rung = min(self._lowest, max(self._state.memory_rung, notes.rung))
        self._begun_at = self._state.memory_rung
        self._write_notes(notes)
        self._apply()

    def _go_down(self) -> None:
        self._state.memory_rung += 1
        self._write_notes(MemoryNotes.read(self._folder))
        self._apply()

    def _short_in_the_middle(self, details: str) -> failures.TrainingFailureError:
        """Leave it to the next attempt: others wait in the middle of a divided layer."""
        if self._state.memory_rung >= self._lowest:
            half = self._longest_row // 2
            untried = half if half >= _SHORTEST_ROW else 0
            return failures.out_of_memory(details, untried_tokens=untried)
        # At once to the lowest: each attempt loads a large model anew, and only a few are made.
        notes = MemoryNotes.read(self._folder)
        replace(notes, rung=self._lowest, lowest=self._lowest).write(self._folder)
        return failures.memory_in_pieces(details)

    def _write_notes(self, notes: MemoryNotes) -> None:
        if self._team.is_lead:
            rung = self._state.memory_rung
            replace(notes, rung=rung, lowest=self._lowest).write(self._folder)

    def _apply(self) -> None:
        if self.recomputes and self._recompute is not None:
            self._recompute()
        note = self._what_was_done()
        if note != self._told:
            self._told = note
            self._reports.memory(note)

    def _what_was_done(self) -> str:
        if MemoryNotes.read(self._folder).in_four_bits:
            return IN_FOUR_BITS
        if self.recomputes:
            return CALCULATED_TWICE
        return LESS_AT_ONCE if self._state.memory_rung else ""

    def _nothing_left_here(self, details: str) -> failures.TrainingFailureError:
        if self._begun_at < self._lowest:
            return failures.memory_in_pieces(details)
        if take_four_bits(self._folder):
            return failures.four_bits_next(details)
        return failures.out_of_memory(details, self._longest_that_fits())

    def _random_state(self) -> list[torch.Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states

    def _restore(self, states: list[torch.Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self._device)

    def _longest_that_fits(self) -> int:
        """Try ever shorter rows, and return the tokens of the first that fits; 0 if none does."""
        length = self._longest_row // 2
        while self._probe is not None and length >= _SHORTEST_ROW:
            try:
                self._probe(length)
            except (RuntimeError, MemoryError) as error:
                if not failures.is_out_of_memory(error):
                    raise
            else:
                return length
            give_back()
            length //= 2
        return 0


@contextmanager
def falling_to_four_bits(run_folder: Path) -> Iterator[None]:
    """Let the next attempt hold the base model in 4 bits, if there is no room to load it as it is.

    Raises:
        TrainingFailureError: in place of the error, if that is allowed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if failures.is_out_of_memory(error) and take_four_bits(run_folder):
            raise failures.four_bits_next(str(error)) from error
        raise


@contextmanager
def less_the_next_time(run_folder: Path) -> Iterator[None]:
    """Let the next attempt begin with less, if memory runs short where no work can begin anew.

    That is beside the ladder: while a checkpoint is read or written, say.

    Raises:
        TrainingFailureError: in place of the error; for good only if there is nothing below.
    """
    try:
        yield
    except (RuntimeError, OSError, MemoryError) as error:
        if not failures.is_out_of_memory(error):
            raise
        details = failures.details_of(error)
        lower = MemoryNotes.read(run_folder).after_shortage()
        if lower is None:
            raise failures.out_of_memory(details) from error
        lower.write(run_folder)
        raise failures.memory_ran_out(details) from error


def twice_if_short(work: Callable[[], T]) -> T:
    """Do a piece of work; where memory is short, once more with all that can be given back."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not failures.is_out_of_memory(error):
            raise
    # Outside of the handler: what the failed attempt held is free only now.
    give_back()
    return work()


def take_four_bits(run_folder: Path) -> bool:
    """Leave word that the next attempt holds the base model in 4 bits; False if it may not."""
    notes = MemoryNotes.read(run_folder)
    if notes.four_bits_left:
        notes.taking_four_bits().write(run_folder)
    return notes.four_bits_left


def _halvings(most_tokens: int, longest_item: int) -> Iterator[int]:
    while most_tokens > longest_item:
        most_tokens //= 2
        yield most_tokens
