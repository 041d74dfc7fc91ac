"""What the pages of many watchers ask of the database while the queue moves."""

import asyncio
import threading
import time
from typing import Final

from sqlalchemy import Engine, event, select

from app.database.session import transaction
from app.runs import holding
from app.runs.queue import repository
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.web.run_feed import RunFeed, Watcher
from app.web.run_views import RunViews
from app.web.sse import Outbox
from benchmarks.queue_growth.crew import end
from benchmarks.queue_growth.filling import People, device

WATCHERS: Final = (10, 100, 1_000)
_SECONDS: Final = 12.0


def watch(engine: Engine, people: People) -> None:
    """Print what so many watchers cost, of the same ten runs and each of another one."""
    for same_runs in (True, False):
        for count in WATCHERS:
            asked, looks, cpu = asyncio.run(_watched(engine, people, count, same_runs=same_runs))
            what = "10 runs" if same_runs else f"{count:,} runs"
            each = asked / _SECONDS / count
            print(
                f"{count:>5,} watchers of {what:>10}: {asked / _SECONDS:8.1f} "
                f"statements/s, {each:7.3f} for each watcher, "
                f"{looks / _SECONDS:4.1f} looks/s, {cpu / _SECONDS:5.1%} of a core"
            )


async def _watched(
    engine: Engine, people: People, count: int, *, same_runs: bool
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
    while time.monotonic() < began + _SECONDS:
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
        held = holding.claim_next_run(session, device(1))
    if held is not None:
        end(engine, held)
