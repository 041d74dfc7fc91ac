"""How the queue bears growth: 200 workers, 10,000 queued runs, 1,000 watchers. No torch in it.

Run: .venv/bin/python -m benchmarks.queue_growth [postgresql://user@host/postgres | sqlite] [claims]
Without an address, PostgreSQL on this machine; a database of its own is made there and dropped.
With "claims" as the last word the watchers, who take a minute, are left out.

The 200 workers are logical ones: what they do is done over 8 connections by 8 threads of 4
processes, since the machine has room for no more; so what a claim takes holds Python's part, the
other threads' turns and the commit to disk. Half the workers have a graphics card, and a tenth of
the runs need one. Everything goes through the functions that real workers and pages call.

They work three times: all claim at the same moment and go on at a pace at which a run takes 20 s,
which is about as short as any training there is; the same with a limit for everybody; and then
nobody trains anything, so that everyone claims and ends as fast as the machine can.
"""

import statistics
import sys
import time
from collections import Counter
from typing import Final

from sqlalchemy import Engine, func, select

from app.database.engine import build_engine
from app.database.session import transaction
from app.runs import holding
from app.runs.queue import administration, repository
from app.runs.queue.claiming import places_in_queue
from app.runs.queue.limits import Limit
from app.runs.queue.tables import DeviceUse
from app.runs.queue.turns import newcomers_turn
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.workers.device import DeviceKind
from benchmarks.queue_growth.crew import CONNECTIONS, PROCESSES, end, work
from benchmarks.queue_growth.filling import (
    EXPECTED_SECONDS,
    PEOPLE,
    RUNS,
    WORKERS,
    People,
    database,
    device,
    fill,
    kept_in_order,
    row_of_run,
)
from benchmarks.queue_growth.watching import watch

_AT_A_PACE: Final = 1_500
_ENDED: Final = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "claims"]
    where = words[0] if words else "postgresql://root@127.0.0.1:5432/postgres"
    with database(where) as address:
        engine = build_engine(address)
        people = fill(engine)
        print(f"{engine.dialect.name}: {RUNS:,} runs of {PEOPLE} people wait, {WORKERS} workers")
        with kept_in_order(engine) as by_us:
            if by_us:
                print("autovacuum is off on this server; its work is done here once a minute")
            _measure(engine, address, people)
        engine.dispose()


def _measure(engine: Engine, address: str, people: People) -> None:
    _ask(engine, people)
    _place(engine)
    _claim_alone(engine)
    if "claims" not in sys.argv:
        watch(engine, people)
    print(f"{PROCESSES} processes with {CONNECTIONS} connections each stand for the workers")
    _work(engine, address, "at a pace, no limits", _AT_A_PACE, EXPECTED_SECONDS)
    with transaction(engine) as session:
        administration.set_limit(session, None, Limit(runs_at_once=6, device_hours_a_week=5_000))
    _work(engine, address, "at a pace, a limit for everybody", _AT_A_PACE, EXPECTED_SECONDS)
    _work(engine, address, "as fast as it goes, a limit for everybody", RUNS, 0.0)


def _ask(engine: Engine, people: People) -> None:
    """How long it takes to join a queue of ten thousand."""
    taken = []
    for number in range(100):
        row = row_of_run(number, people) | {"version_number": 100_000 + number}
        began = time.perf_counter()
        with transaction(engine) as session:
            run = Run(**row)
            own_end = repository.own_end(session, run)
            run.turn = newcomers_turn(repository.now_in_queue(session, run), own_end)
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
    taken, cpu = [], 0.0
    for number in range(WORKERS):
        began, cpu_began = time.perf_counter(), time.process_time()
        with transaction(engine) as session:
            held = holding.claim_next_run(session, device(number))
        taken.append(time.perf_counter() - began)
        cpu += time.process_time() - cpu_began
        if held is not None:
            end(engine, held)
    print(f"a claim, alone: {_told(taken)}; {cpu / WORKERS * 1000:.1f} ms of processor here")


def _work(engine: Engine, address: str, what: str, most: int, seconds_of_a_run: float) -> None:
    """All workers work, for so many runs at most; what was claimed twice would be found here."""
    with transaction(engine) as session:
        waiting = session.scalar(select(func.count()).where(Run.status == RunStatus.QUEUED)) or 0
        before = session.scalar(select(func.count(DeviceUse.id))) or 0
    began = time.monotonic()
    done = work(address, most, seconds_of_a_run)
    wall = time.monotonic() - began
    claims = Counter(run_id for run_id, _ in done.claimed)
    _check(holds=set(claims.values()) == {1}, otherwise="a run was claimed twice")
    left_out = min(waiting, most) - len(claims)
    _check(holds=left_out == 0, otherwise=f"{left_out} never claimed")
    with transaction(engine, read_only=True) as session:
        uses = (session.scalar(select(func.count(DeviceUse.id))) or 0) - before
        left = session.scalar(select(func.count()).where(Run.status.not_in(_ENDED))) or 0
        fences = set(session.scalars(select(Run.fence).where(Run.id.in_(claims)).distinct()))
        wrong = session.scalar(
            select(func.count()).where(
                Run.needs_kind == DeviceKind.CUDA, Run.device["kind"].as_string() == DeviceKind.CPU
            )
        )
    as_counted = (uses, left) == (len(claims), waiting - len(claims))
    _check(holds=as_counted, otherwise=f"{uses} uses, {left} left")
    # One claim and one end raise it once each.
    _check(holds=fences == {2}, otherwise=f"fences {fences}")
    _check(holds=wrong == 0, otherwise=f"{wrong} runs went to a device that cannot train them")
    print(
        f"{what}: exactly once: {len(claims):,} runs claimed and ended, none twice, none left out"
    )
    print(f"  200 workers at once: {_told(done.first_claims)}")
    print(f"  a claim: {_told(done.claims)}")
    print(f"  an end: {_told(done.ends)}")
    print(f"  a heartbeat: {_told(done.beats)}")
    print(f"  {len(claims) / wall:.0f} runs a second in {wall:.0f} s", flush=True)


def _check(*, holds: bool, otherwise: str) -> None:
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
