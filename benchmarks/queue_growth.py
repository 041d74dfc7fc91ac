"""How the queue bears growth: 200 workers, 10,000 queued runs, 1,000 watchers. No torch in it.

Run: .venv/bin/python -m benchmarks.queue_growth [postgresql://user@host/postgres | sqlite] [claims]
Without an address, PostgreSQL on this machine; a database of its own is made there and dropped.
With "claims" as the last word the watchers, who take a minute, are left out.

The 200 workers are logical ones: each claims a run for its device, has it for a while (3 s on
average), beats, ends it, and claims the next. What they do is done over 8 connections in 8 threads
of one process, since the machine has room for no more; so what a claim takes holds Python's part,
the other threads' turns and the commit to disk. Half the workers have a graphics card, and a tenth
of the runs need one. Everything goes through the functions that real workers and pages call.
"""

import asyncio
import heapq
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Engine, event, func, insert, select

from app.accounts.tables import User, UserSession
from app.base_models.tables import BaseModel
from app.clock import now
from app.database.engine import build_engine
from app.database.migrate import migrate
from app.database.session import transaction
from app.ids import new_id
from app.jobs import RUNS_QUEUE
from app.projects.service import create_project
from app.runs import holding
from app.runs.holding import HeldRun
from app.runs.queue import administration, repository
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.limits import Limit
from app.runs.queue.tables import DeviceUse
from app.runs.queue.turns import newcomers_turn
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.web.run_feed import RunFeed, Watcher
from app.web.run_views import RunViews
from app.web.sse import Outbox
from app.workers.device import Device, DeviceFacts, DeviceKind, OneDevice
from app.workers.repository import report
from tests.support.runs import RECIPE_OF_NOTHING

RUNS: Final = 10_000
WORKERS: Final = 200
PEOPLE: Final = 50
WATCHERS: Final = (10, 100, 1_000)
CONNECTIONS: Final = 8
_SECONDS_OF_A_RUN: Final = 3.0
_WATCHING_SECONDS: Final = 12.0
_GIGABYTE: Final = 1024**3
_ENDED: Final = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "claims"]
    where = words[0] if words else "postgresql://root@127.0.0.1:5432/postgres"
    with _database(where) as engine:
        people = _fill(engine)
        print(f"{engine.dialect.name}: {RUNS:,} runs of {PEOPLE} people wait, {WORKERS} workers")
        _ask(engine, people)
        _place(engine)
        _claim_alone(engine)
        if "claims" not in sys.argv:
            _watch(engine, people)
        _work(engine, "no limits", RUNS // 2)
        with transaction(engine) as session:
            administration.set_limit(
                session, None, Limit(runs_at_once=6, device_hours_a_week=5_000)
            )
        _work(engine, "a limit for everybody", RUNS)


@contextmanager
def _database(where: str) -> Iterator[Engine]:
    if where == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            engine = build_engine(f"sqlite:///{folder}/tailor.sqlite")
            migrate(engine)
            yield engine
            engine.dispose()
        return
    name = f"tailor_growth_{new_id()}"
    with psycopg.connect(where, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        address = where.rsplit("/", 1)[0].replace("postgresql://", "postgresql+psycopg://", 1)
        engine = build_engine(f"{address}/{name}")
        try:
            migrate(engine)
            yield engine
        finally:
            engine.dispose()
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _fill(engine: Engine) -> list[tuple[str, str, str]]:
    """Make people (id, project, sign-in), their waiting runs, and announce the workers."""
    people = []
    with transaction(engine) as session:
        session.add(BaseModel(id="base", name="A model", source="built_in", status="ready"))
        for number in range(PEOPLE):
            name = f"person {number}"
            user = User(email=f"{number}@example.org", name=name, password_hash=name)
            session.add(user)
            session.flush()
            project = create_project(session, user.id, f"Project {number}")
            sign_in = UserSession(
                user_id=user.id,
                token_hash=new_id() * 4,
                csrf_token=new_id(),
                expires_at=now() + timedelta(days=1),
            )
            session.add(sign_in)
            session.flush()
            people.append((user.id, project.id, sign_in.id))
        rows = [_row(number, people) for number in range(RUNS)]
        session.execute(insert(Run), rows)
        for number in range(WORKERS):
            one = _device(number)
            facts = DeviceFacts(host=one.host, kind=one.kind, devices=(one.device,), cores=8)
            report(session, f"{one.host}:1/runs", RUNS_QUEUE, facts)
    return people


def _row(number: int, people: list[tuple[str, str, str]]) -> dict[str, Any]:
    person, project, _ = people[number % PEOPLE]
    own = number // PEOPLE
    return {
        "id": new_id(),
        "project_id": project,
        "version_number": own + 1,
        "base_model_id": "base",
        "requested_by_id": person,
        "status": RunStatus.QUEUED,
        "recipe": RECIPE_OF_NOTHING.model_dump(mode="json"),
        "snapshot_sha256": "0" * 64,
        "train_count": 1,
        "validation_count": 0,
        "expected_seconds": _SECONDS_OF_A_RUN,
        # What line_up gives them: the person's own before it, each as long as it is thought to be.
        "turn": own * _SECONDS_OF_A_RUN,
        "needs_kind": DeviceKind.CUDA if number % 10 == 0 else None,
        "event_count": 0,
    }


def _device(number: int) -> OneDevice:
    kind = DeviceKind.CUDA if number % 2 else DeviceKind.CPU
    name = f"GPU-{number}" if kind == DeviceKind.CUDA else "cpu"
    return OneDevice(f"host-{number}", kind, Device(id=name, name=name, memory_bytes=_GIGABYTE))


def _ask(engine: Engine, people: list[tuple[str, str, str]]) -> None:
    """How long it takes to join a queue of ten thousand."""
    taken = []
    for number in range(100):
        row = _row(number, people) | {"version_number": 100_000 + number}
        began = time.perf_counter()
        with transaction(engine) as session:
            run = Run(**row)
            end = repository.own_end(session, run)
            run.turn = newcomers_turn(repository.now_in_queue(session, run), end)
            session.add(run)
        taken.append(time.perf_counter() - began)
        with transaction(engine) as session:
            session.delete(session.merge(run))
    print(f"joining the queue: {_told(taken)}")


def _place(engine: Engine) -> None:
    """How long it takes to say where a run stands: the queue played forward, with all limits."""
    with transaction(engine, read_only=True) as session:
        last = repository.entries(session)[-1].run_id
    taken = []
    for _ in range(9):
        began = time.perf_counter()
        with transaction(engine, read_only=True) as session:
            place = places_in_queue(session, [last])[last]
        taken.append(time.perf_counter() - began)
    print(f"a place and its expected start ({place.ahead:,} before it): {_told(taken)}")


def _claim_alone(engine: Engine) -> None:
    """What one claim costs while nobody else claims, and how much of it is this process's part."""
    taken, cpu = [], time.process_time()
    for number in range(WORKERS):
        began = time.perf_counter()
        with transaction(engine) as session:
            held = holding.claim_next_run(session, _device(number))
        taken.append(time.perf_counter() - began)
        cpu -= time.process_time()
        if held is not None:
            _end(engine, held)
        cpu += time.process_time()
    cpu = time.process_time() - cpu
    print(f"a claim, alone: {_told(taken)}; {cpu / WORKERS * 1000:.1f} ms of processor here")


def _watch(engine: Engine, people: list[tuple[str, str, str]]) -> None:
    """What the pages of many watchers ask of the database while the queue moves."""
    for same_runs in (True, False):
        for count in WATCHERS:
            asked, looks, cpu = asyncio.run(_watched(engine, people, count, same_runs=same_runs))
            what = "10 runs" if same_runs else f"{count:,} runs"
            each = asked / _WATCHING_SECONDS / count
            print(
                f"{count:>5,} watchers of {what:>10}: {asked / _WATCHING_SECONDS:8.1f} "
                f"statements/s, {each:7.3f} for each watcher, "
                f"{looks / _WATCHING_SECONDS:4.1f} looks/s, {cpu / _WATCHING_SECONDS:5.1%} of a "
                "core"
            )


async def _watched(
    engine: Engine, people: list[tuple[str, str, str]], count: int, *, same_runs: bool
) -> tuple[int, int, float]:
    """Follow runs for a while, one of which is begun and one stopped each second."""
    with transaction(engine, read_only=True) as session:
        runs = session.execute(
            select(Run.id, Run.project_id, Run.requested_by_id)
            .where(Run.status == RunStatus.QUEUED)
            .order_by(*repository.ORDER)
            .offset(300)
            .limit(10 if same_runs else count)
        ).all()
    sign_ins = {person: sign_in for person, _, sign_in in people}
    feed = RunFeed(engine, RunViews())
    readers = []
    for number in range(count):
        run_id, project_id, person = runs[number % len(runs)]
        outbox = Outbox()
        feed.watch(Watcher(run_id, project_id, sign_ins[person], "-", True, 0, outbox))
        readers.append(asyncio.create_task(_read(outbox)))
    # The first look shows everything to everyone; it is the price of opening the pages.
    await asyncio.to_thread(feed.look)
    counted, looks = [0], [0]

    def note(*_: object) -> None:
        counted[0] += threading.current_thread().name == "run-feed"

    look = feed.look

    def counted_look() -> None:
        looks[0] += 1
        look()

    feed.look = counted_look  # type: ignore[method-assign]
    event.listen(engine, "before_cursor_execute", note)
    began, cpu = time.monotonic(), time.process_time()
    feed.start()
    moved = 0.0
    while time.monotonic() < began + _WATCHING_SECONDS:
        await asyncio.to_thread(_move, engine)
        moved += 1
        await asyncio.sleep(max(0.0, began + moved - time.monotonic()))
    cpu = time.process_time() - cpu
    event.remove(engine, "before_cursor_execute", note)
    await asyncio.to_thread(feed.stop)
    await asyncio.gather(*readers)
    return counted[0], looks[0], cpu


async def _read(outbox: Outbox) -> None:
    async for _ in outbox.messages():
        pass


def _move(engine: Engine) -> None:
    """The queue goes on by one run."""
    with transaction(engine) as session:
        held = holding.claim_next_run(session, _device(1))
    if held is not None:
        _end(engine, held)


def _work(engine: Engine, what: str, most: int) -> None:
    """All workers work, for so many runs at most; what was claimed twice would be found here."""
    with transaction(engine) as session:
        waiting = session.scalar(select(func.count()).where(Run.status == RunStatus.QUEUED)) or 0
        before = session.scalar(select(func.count(DeviceUse.id))) or 0
    crew = _Crew(engine, most)
    began = time.monotonic()
    crew.work()
    wall = time.monotonic() - began
    claims = Counter(run_id for run_id, _ in crew.claimed)
    _check(set(claims.values()) == {1}, "a run was claimed twice")
    _check(len(claims) == min(waiting, most), f"{min(waiting, most) - len(claims)} never claimed")
    with transaction(engine, read_only=True) as session:
        uses = (session.scalar(select(func.count(DeviceUse.id))) or 0) - before
        left = session.scalar(select(func.count()).where(Run.status.not_in(_ENDED))) or 0
        fences = set(session.scalars(select(Run.fence).where(Run.id.in_(claims)).distinct()))
        wrong = session.scalar(
            select(func.count()).where(
                Run.needs_kind == DeviceKind.CUDA, Run.device["kind"].as_string() == DeviceKind.CPU
            )
        )
    _check((uses, left) == (len(claims), waiting - len(claims)), f"{uses} uses, {left} left")
    # One claim and one end raise it once each.
    _check(fences == {2}, f"fences {fences}")
    _check(wrong == 0, f"{wrong} runs went to a device that cannot train them")
    print(
        f"{what}: exactly once: {len(claims):,} runs claimed and ended, none twice, none left out"
    )
    print(f"  200 workers at once: {_told(crew.first_claims)}")
    print(f"  a claim: {_told(crew.claims)}")
    print(f"  an end: {_told(crew.ends)}")
    print(f"  a heartbeat: {_told(crew.beats)}")
    print(f"  {len(claims) / wall:.0f} runs a second in {wall:.0f} s")


class _Crew:
    """Two hundred workers in a few threads: what is due next is done by whoever is free."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most
        self._claiming = 0
        self._due: list[tuple[float, int, int, HeldRun | None]] = []
        self._lock = threading.Lock()
        self._chance = random.Random(3)  # noqa: S311 (lengths of runs)
        self._number = 0
        self.claimed: list[tuple[str, DeviceKind]] = []
        self.first_claims: list[float] = []
        self.claims: list[float] = []
        self.ends: list[float] = []
        self.beats: list[float] = []

    def work(self) -> None:
        for worker in range(WORKERS):
            self._put(time.monotonic(), worker, None)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in [pool.submit(self._serve) for _ in range(CONNECTIONS)]:
                done.result()

    def _serve(self) -> None:
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
                self._claim(worker)
            else:
                self._end(worker, held)

    def _claim(self, worker: int) -> None:
        with self._lock:
            if len(self.claimed) + self._claiming >= self._most:
                return
            self._claiming += 1
        device = _device(worker)
        began = time.perf_counter()
        with transaction(self._engine) as session:
            held = holding.claim_next_run(session, device)
        taken = time.perf_counter() - began
        with self._lock:
            self._claiming -= 1
        if held is None:
            # Limits may hold everything back for the moment; a hint would come after a while.
            if self._waits(device):
                self._put(time.monotonic() + 0.5, worker, None)
            return
        with self._lock:
            (self.first_claims if len(self.first_claims) < WORKERS else self.claims).append(taken)
            self.claimed.append((held.id, device.kind))
            seconds = self._chance.expovariate(1 / _SECONDS_OF_A_RUN)
        self._put(time.monotonic() + seconds, worker, held)

    def _waits(self, device: OneDevice) -> bool:
        with transaction(self._engine, read_only=True) as session:
            return bool(repository.waiting_for(session, device.kind, 1))

    def _end(self, worker: int, held: HeldRun) -> None:
        began = time.perf_counter()
        with transaction(self._engine) as session:
            holding.beat(session, held)
        beaten = time.perf_counter()
        _end(self._engine, held)
        with self._lock:
            self.beats.append(beaten - began)
            self.ends.append(time.perf_counter() - beaten)
        self._put(time.monotonic(), worker, None)

    def _put(self, due: float, worker: int, held: HeldRun | None) -> None:
        with self._lock:
            self._number += 1
            heapq.heappush(self._due, (due, self._number, worker, held))


def _end(engine: Engine, held: HeldRun) -> None:
    with transaction(engine) as session:
        run = lock(session, held.id)
        _check(run is not None and run.fence == held.fence, "someone else has it")
        holding.end_locked(session, run or Run(), RunStatus.FAILED, "It is over.")


def _check(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise SystemExit(f"Not as promised: {otherwise}")


def _told(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return (
        f"median {statistics.median(ordered) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, "
        f"longest {ordered[-1] * 1000:.0f} ms (of {len(ordered):,})"
    )


if __name__ == "__main__":
    main()
