"""How quick 100,000 examples are: a page, a page deep in the list, a search, the advice.

Run: .venv/bin/python -m benchmarks.examples_paging [postgresql://…]
Without an address, SQLite in a temporary folder. Prints the median of 9 in milliseconds, and
the processor time of this process, which a busy machine does not change (with PostgreSQL, the
server's is not in it).
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from app.database.engine import build_engine
from app.database.migrate import migrate
from app.database.session import transaction
from app.datasets import service
from app.datasets.advice import advise
from app.datasets.content import NewExample
from app.datasets.repository import Cursor
from app.datasets.snapshot import freeze
from app.projects.tables import Project

COUNT: Final = 100_000
_REPEATS: Final = 9
_TEXT: Final = """
    where is my order parcel late refund please invoice address change account the a to of and
    delivery tomorrow yes no card payment received thank you kindly service shop question
"""


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else ""
    with tempfile.TemporaryDirectory() as folder:
        engine = build_engine(url or f"sqlite:///{folder}/tailor.sqlite")
        migrate(engine)
        started = time.perf_counter()
        project_id = _fill(engine)
        print(f"{engine.dialect.name}: {COUNT:,} added in {time.perf_counter() - started:.1f} s")
        _measure(engine, project_id, Path(folder))
        engine.dispose()


def _fill(engine: Engine) -> str:
    chance = random.Random(1)  # noqa: S311 (made-up text)

    words = _TEXT.split()

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length))

    with transaction(engine) as session:
        project = Project(name="benchmark")
        session.add(project)
        session.flush()
        service.add_examples(
            session,
            project.id,
            (NewExample(text(40), f"{text(10)} {i}?", row_number=i) for i in range(COUNT)),
        )
        return project.id


def _measure(engine: Engine, project_id: str, folder: Path) -> None:
    deep = Cursor(COUNT // 2, COUNT // 2)

    def listed(**choices: object) -> Callable[[], object]:
        def act() -> object:
            with transaction(engine, read_only=True) as session:
                return service.list_examples(session, project_id, **choices)  # type: ignore[arg-type]

        return act

    def advised() -> object:
        with transaction(engine, read_only=True) as session:
            return advise(session, project_id)

    cases = {
        "first page": listed(),
        "page in the middle": listed(after=deep),
        "page in the middle, by row": listed(order="row", after=deep),
        "search, found often": listed(search="refund"),
        "search, found once": listed(search="77777?"),
        "search, found never": listed(search="nowhere to be found"),
        "advice": advised,
    }
    for name, act in cases.items():
        wall, cpu = _median_ms(act)
        print(f"{name:28} {wall:7.1f} ms  ({cpu:.1f} ms of processor)")
    started, cpu_started = time.perf_counter(), time.process_time()
    with transaction(engine, read_only=True) as session:
        freeze(session, project_id, folder / "run")
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    print(f"{'snapshot':28} {wall:7.1f} s   ({cpu:.1f} s of processor)")


def _median_ms(act: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = [], []
    for _ in range(_REPEATS):
        started, cpu_started = time.perf_counter(), time.process_time()
        act()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return 1000 * statistics.median(wall), 1000 * statistics.median(cpu)


if __name__ == "__main__":
    main()
