"""Two hundred workers in a few processes: each claims, has a run for a while, and ends it.

What is due next in a process is done by whoever of its threads is free, over a connection of its
own, as in the processes of real workers.
"""

import heapq
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from threading import Barrier
from typing import Final

from sqlalchemy import Engine

from app.database.engine import build_engine
from app.database.session import transaction
from app.runs import holding
from app.runs.holding import HeldRun
from app.runs.queue import repository
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.workers.device import DeviceKind, OneDevice
from benchmarks.queue_growth.filling import WORKERS, device

PROCESSES: Final = 4
CONNECTIONS: Final = 2
"""Of each process."""


@dataclass
class Done:
    """What workers did, and how many seconds each of their transactions took."""

    claimed: list[tuple[str, DeviceKind]] = field(default_factory=list)
    first_claims: list[float] = field(default_factory=list)
    claims: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def add(self, other: "Done") -> None:
        for name, values in vars(other).items():
            getattr(self, name).extend(values)


def work(address: str, most: int, seconds_of_a_run: float) -> Done:
    """Let all workers work until so many runs were claimed and have ended, or none waits.

    Args:
        address: of the database.
        most: runs, shared out among the processes.
        seconds_of_a_run: how long one has its device on average; 0 where everyone is to do
            nothing but claim and end.
    """
    parts = [range(number, WORKERS, PROCESSES) for number in range(PROCESSES)]
    done, context = Done(), get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        all_are_ready = manager.Barrier(PROCESSES)
        shares = [most // PROCESSES + (number < most % PROCESSES) for number in range(PROCESSES)]
        futures = [
            pool.submit(_work_in_process, address, part, share, seconds_of_a_run, all_are_ready)
            for part, share in zip(parts, shares, strict=True)
        ]
        for future in futures:
            done.add(future.result())
    return done


def end(engine: Engine, held: HeldRun) -> None:
    """End a run that is held, as one that failed."""
    with transaction(engine) as session:
        run = lock(session, held.id)
        if run is None or run.fence != held.fence:
            raise SystemExit("Not as promised: someone else has it")
        holding.end_locked(session, run, RunStatus.FAILED, "It is over.")


def _work_in_process(
    address: str, workers: Sequence[int], most: int, seconds_of_a_run: float, all_are_ready: Barrier
) -> Done:
    engine = build_engine(address)
    crew = _Crew(engine, most, seconds_of_a_run, seed=workers[0])
    crew.warm_up()
    all_are_ready.wait()
    crew.work(workers)
    engine.dispose()
    return crew.done


class _Crew:
    def __init__(self, engine: Engine, most: int, seconds_of_a_run: float, seed: int) -> None:
        self._engine = engine
        self._most = most
        self._seconds = seconds_of_a_run
        self._claiming = 0
        self._due: list[tuple[float, int, int, HeldRun | None]] = []
        self._lock = threading.Lock()
        self._chance = random.Random(seed)  # noqa: S311 (lengths of runs)
        self._number = 0
        self.done = Done()

    def warm_up(self) -> None:
        """Connect and build the statements, which a worker has done long before it claims."""
        with transaction(self._engine) as session:
            holding.claim_next_run(session, device(0))
            session.rollback()

    def work(self, workers: Sequence[int]) -> None:
        for worker in workers:
            self._put(time.monotonic(), worker, None)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in [pool.submit(self._serve, len(workers)) for _ in range(CONNECTIONS)]:
                done.result()

    def _serve(self, workers: int) -> None:
        while True:
            with self._lock:
                if not self._due:
                    return
                due, _, worker, held = self._due[0]
                wait = due - time.monotonic()
                if wait <= 0:
                    heapq.heappop(self._due)
            if wait > 0:
                time.sleep(min(wait, 0.02))
            elif held is None:
                self._claim(worker, workers)
            else:
                self._end(worker, held)

    def _claim(self, worker: int, workers: int) -> None:
        with self._lock:
            if len(self.done.claimed) + self._claiming >= self._most:
                return
            self._claiming += 1
        one = device(worker)
        began = time.perf_counter()
        with transaction(self._engine) as session:
            held = holding.claim_next_run(session, one)
        taken = time.perf_counter() - began
        with self._lock:
            self._claiming -= 1
        if held is None:
            # Limits may hold everything back for the moment; a hint would come after a while.
            if self._waits(one):
                self._put(time.monotonic() + 0.5, worker, None)
            return
        with self._lock:
            is_first = len(self.done.first_claims) < workers
            (self.done.first_claims if is_first else self.done.claims).append(taken)
            self.done.claimed.append((held.id, one.kind))
            seconds = self._chance.expovariate(1 / self._seconds) if self._seconds else 0.0
        self._put(time.monotonic() + seconds, worker, held)

    def _waits(self, one: OneDevice) -> bool:
        with transaction(self._engine, read_only=True) as session:
            return bool(repository.waiting_for(session, one.kind, 1))

    def _end(self, worker: int, held: HeldRun) -> None:
        began = time.perf_counter()
        with transaction(self._engine) as session:
            holding.beat(session, held)
        beaten = time.perf_counter()
        end(self._engine, held)
        with self._lock:
            self.done.beats.append(beaten - began)
            self.done.ends.append(time.perf_counter() - beaten)
        self._put(time.monotonic(), worker, None)

    def _put(self, due: float, worker: int, held: HeldRun | None) -> None:
        with self._lock:
            self._number += 1
            heapq.heappush(self._due, (due, self._number, worker, held))
