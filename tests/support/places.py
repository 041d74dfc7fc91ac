"""Named places in the life of a training, and kills that happen there.

The real processes mark where they are (marked_places.py) in a diary in the
run's folder. A list beside it says at which place, when and whom to kill: SIGKILL, to the process
itself or to those above it. What was killed is written down before it happens, for the process that
could do so later is gone by then.
"""

import functools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tests.support.workers import children_of

_ORDERS: Final = "kills.json"
_DIARY: Final = "places.txt"
_DONE: Final = "killed.txt"
AT_ITS_END: Final = 3600.0
"""A moment that never comes, so that the kill happens in the last moment of the stay."""


class Victim(StrEnum):
    TRAINING = "training process"
    POOL = "pool process"
    MAIN = "main process"
    ALL = "all of them"


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        place: where.
        entry: the how manyth time that a process comes there, over all attempts of the run.
        after: seconds after that; at the latest when it leaves.
        victim: whom.
        by: the signal.
    """

    place: str
    entry: int
    after: float
    victim: Victim
    by: signal.Signals = signal.SIGKILL


def order(run_folder: Path, kills: Sequence[Kill]) -> None:
    (run_folder / _ORDERS).write_text(json.dumps([asdict(kill) for kill in kills]))


def done(run_folder: Path) -> list[Kill]:
    """Return the kills that happened, the first one first."""
    return _read(run_folder / _DONE)


def seen(run_folder: Path) -> list[tuple[str, int, float]]:
    """Return every stay at a place: its name, the how manyth it was, and its seconds."""
    counts: Counter[str] = Counter()
    stays = []
    for line in _lines(run_folder / _DIARY):
        place, seconds = line[2:].rsplit(" ", 1)
        if line.startswith("-"):
            counts[place] += 1
            stays.append((place, counts[place], float(seconds)))
    return stays


@contextmanager
def at(run_folder: Path, place: str) -> Iterator[None]:
    """Mark that this process is at a place, and let it or those above it be killed there.

    Whoever brought death on itself does not leave the place. It dies a few milliseconds after those
    above it, and what it did meanwhile would be a second life: it could enter the place of the next
    kill and be gone before that kill's moment, or kill the stranger who adopted it.
    """
    _note(run_folder, f"+ {place} 0")
    entry = sum(line.startswith(f"+ {place} ") for line in _lines(run_folder / _DIARY))
    armed = [
        _Armed(run_folder, kill)
        for kill in _ordered(run_folder)
        if (kill.place, kill.entry) == (place, entry)
    ]
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    for one in armed:
        one.strike()
    if any(one.ends_this_process for one in armed):
        threading.Event().wait()
    _note(run_folder, f"- {place} {seconds:.6f}")


def marked(
    place: str, function: Callable[..., Any], folder_of: Callable[..., Path]
) -> Callable[..., Any]:
    """Return the same function, whose call is a stay at a place.

    Args:
        place: its name.
        function: to be marked.
        folder_of: finds the run's folder in the arguments of a call.
    """

    @functools.wraps(function)
    def stay(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever the function takes)
        with at(folder_of(*arguments, **named), place):
            return function(*arguments, **named)

    return stay


class _Armed:
    """A kill whose moment is drawing near."""

    def __init__(self, run_folder: Path, kill: Kill) -> None:
        self._folder, self._kill = run_folder, kill
        self._once = threading.Lock()
        timer = threading.Timer(kill.after, self.strike)
        timer.daemon = True
        timer.start()

    @property
    def ends_this_process(self) -> bool:
        """Whether this process is its victim, or dies with its victim."""
        is_above_or_here = self._kill.victim is not Victim.TRAINING or _is_training()
        return self._kill.by == signal.SIGKILL and is_above_or_here

    def strike(self) -> None:
        if not self._once.acquire(blocking=False):
            # The timer is at it in this moment, and ends this process or the one above it.
            return
        _note(self._folder, json.dumps(asdict(self._kill)), _DONE)
        for pid in _pids(self._kill.victim):
            os.kill(pid, self._kill.by)


def _pids(victim: Victim) -> list[int]:
    """Return whom to kill, this process last."""
    me = os.getpid()
    is_training = _is_training()
    pool = os.getppid() if is_training else me
    main = _parent_of(pool)
    training = [me] if is_training else children_of(me)
    match victim:
        case Victim.TRAINING:
            return training
        case Victim.POOL:
            return [pool]
        case Victim.MAIN:
            return [main]
        case Victim.ALL:
            return [main, *([pool, me] if is_training else [*training, me])]


def _is_training() -> bool:
    return "killable_child" in Path("/proc/self/cmdline").read_text()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _ordered(run_folder: Path) -> list[Kill]:
    path = run_folder / _ORDERS
    if not path.exists():
        return []
    already = done(run_folder)
    return [kill for kill in map(_kill, json.loads(path.read_text())) if kill not in already]


def _read(path: Path) -> list[Kill]:
    return [_kill(json.loads(line)) for line in _lines(path)]


def _kill(fields: dict[str, Any]) -> Kill:
    known = {"victim": Victim(fields["victim"]), "by": signal.Signals(fields["by"])}
    return Kill(**{**fields, **known})


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _note(run_folder: Path, line: str, file: str = _DIARY) -> None:
    with (run_folder / file).open("a") as diary:
        diary.write(f"{line}\n")
