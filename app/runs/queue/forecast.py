"""When each waiting run will start, if the estimates are right. Pure: the queue played forward.

The devices that are there are given to the waiting runs in the order of their turn, as the claim
does: a device that becomes free takes the first run that it can train and that no limit holds back.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.runs.queue.limits import Hold, Limits
from app.runs.queue.needs import Needs, Serves
from app.runs.queue.repository import QueueEntry
from app.runs.queue.turns import ORDINARY_SECONDS
from app.workers.device import DeviceFacts

# A run that takes longer than it was thought to is thought to end soon.
_LEAST_LEFT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Start:
    """When a waiting run begins.

    Attributes:
        ahead: how many waiting runs begin before it.
        seconds: from now.
    """

    ahead: int
    seconds: float


@dataclass(frozen=True)
class People:
    """Who is held back now, and by what: see limits.py."""

    limits: Limits
    holds: Mapping[str, Hold]
    moment: float = 0.0
    """Seconds since 1970 on the clock of the holds."""


NOBODY_HELD: Final = People(Limits(), {})


def remaining_seconds(entry: QueueEntry) -> float:
    """Return how long a run will have its device from now on, or once it has one."""
    if entry.is_active and entry.seconds_left is not None:
        return entry.seconds_left
    return entry.expected_seconds if entry.expected_seconds is not None else ORDINARY_SECONDS


def forecast(
    entries: Sequence[QueueEntry],
    devices: Sequence[DeviceFacts],
    people: People = NOBODY_HELD,
) -> dict[str, Start]:
    """Return when the waiting runs start; those that no device there can train are not among them.

    Args:
        entries: the runs in work, then those that wait, in the order of their turn.
        devices: on what the workers that are there train.
        people: whom limits hold back.
    """
    return _Play(entries, devices, people).starts()


class _Play:
    """The queue, played forward from now on."""

    def __init__(
        self, entries: Sequence[QueueEntry], devices: Sequence[DeviceFacts], people: People
    ) -> None:
        self._people = people
        self._free: dict[Serves, int] = defaultdict(int)
        for one in (one for facts in devices for one in facts.each()):
            self._free[Serves.by(one)] += 1
        self._in_work: dict[str, int] = defaultdict(int)
        # What happens next: (when, number, device that becomes free, whose run ends).
        self._events: list[tuple[float, int, Serves | None, str | None]] = []
        self._waiting: dict[Needs, list[tuple[int, QueueEntry]]] = defaultdict(list)
        self._parked: dict[str, dict[Needs, list[tuple[int, QueueEntry]]]] = {}
        self._barred = {
            person for person, hold in people.holds.items() if hold.reason == "device_hours"
        }
        self._number = 0
        self._line_up(entries)

    def starts(self) -> dict[str, Start]:
        started: dict[str, Start] = {}
        moment = 0.0
        while True:
            while (next_one := self._next_start()) is not None:
                serves, entry = next_one
                started[entry.run_id] = Start(len(started), moment)
                self._begin(moment, serves, entry)
            if not self._events or not (self._waiting or self._parked):
                return started
            moment, _, freed, person = heapq.heappop(self._events)
            if freed is not None:
                self._free[freed] += 1
            self._let_go_on(freed, person)

    def _line_up(self, entries: Sequence[QueueEntry]) -> None:
        for index, entry in enumerate(entries):
            if entry.is_active:
                left = max(remaining_seconds(entry), _LEAST_LEFT_SECONDS)
                serves = _serves_of_entry(entry, self._free)
                self._occupy(serves, left, entry.person_id)
                for _ in (entry.device or {}).get("further", ()):
                    self._occupy(serves, left, None)
            else:
                self._waiting[entry.needs].append((index, entry))
        for person in self._barred:
            until = self._people.holds[person].until or self._people.moment
            self._expect(max(0.0, until - self._people.moment), None, person)

    def _occupy(self, serves: Serves | None, seconds: float, person: str | None) -> None:
        if serves is not None:
            # A worker that just went away may leave more runs in work than there are devices.
            self._free[serves] = max(0, self._free[serves] - 1)
        if person is not None:
            self._in_work[person] += 1
        self._expect(seconds, serves, person)

    def _expect(self, moment: float, serves: Serves | None, person: str | None) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, serves, person))

    def _begin(self, moment: float, serves: Serves, entry: QueueEntry) -> None:
        end = moment + remaining_seconds(entry)
        self._occupy(serves, end, entry.person_id)
        # Further ones are taken as far as they are free.
        for _ in range(min(entry.devices - 1, self._free[serves])):
            self._occupy(serves, end, None)

    def _next_start(self) -> tuple[Serves, QueueEntry] | None:
        """Take the first waiting run that a free device can train and no limit holds back."""
        waited_for: set[Serves] = set()
        while True:
            heads = [
                (line[0][0], needs, serves)
                for needs, line in self._waiting.items()
                for serves, count in self._free.items()
                if count > 0 and serves.can_train(needs) and serves not in waited_for
            ]
            if not heads:
                return None
            _, needs, serves = min(heads, key=lambda head: head[0])
            if needs.devices > self._free[serves]:
                # Nobody overtakes it here until there are enough.
                waited_for.add(serves)
                continue
            line = self._waiting[needs]
            index, entry = heapq.heappop(line)
            if not line:
                del self._waiting[needs]
            if not self._is_held_back(entry.person_id):
                return serves, entry
            lines = self._parked.setdefault(entry.person_id or "", {})
            heapq.heappush(lines.setdefault(needs, []), (index, entry))

    def _is_held_back(self, person: str | None) -> bool:
        if person is None:
            return False
        most = self._people.limits.of(person).runs_at_once
        return person in self._barred or (most is not None and self._in_work[person] >= most)

    def _let_go_on(self, freed: Serves | None, person: str | None) -> None:
        """After an event: the first of each line of someone who was held back waits again."""
        if person is None:
            return
        if freed is None and person in self._barred:
            self._barred.discard(person)
        else:
            self._in_work[person] -= 1
        if self._is_held_back(person):
            return
        lines = self._parked.get(person, {})
        for needs in list(lines):
            heapq.heappush(self._waiting[needs], heapq.heappop(lines[needs]))
            if not lines[needs]:
                del lines[needs]
        if not lines:
            self._parked.pop(person, None)


def _serves_of_entry(entry: QueueEntry, there: Mapping[Serves, int]) -> Serves | None:
    """Return which of the devices that are there a run in work has; None for one that is gone."""
    said = entry.device or {}
    few_bits = tuple(said.get("few_bits") or ())
    own = Serves(said.get("kind"), said.get("memory_bytes"), said.get("host_devices", 1), few_bits)
    if own in there:
        return own
    return next(iter(there), None) if entry.device is None else None
