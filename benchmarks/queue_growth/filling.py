"""A database of its own with ten thousand waiting runs in it, and what keeps it in order."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Engine, insert, text

from app.accounts.tables import User, UserSession
from app.base_models.tables import BaseModel
from app.clock import now
from app.database.engine import build_engine
from app.database.migrate import migrate
from app.database.session import transaction
from app.ids import new_id
from app.jobs import RUNS_QUEUE
from app.projects.service import create_project
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.workers.device import Device, DeviceFacts, DeviceKind, OneDevice
from app.workers.repository import report
from tests.support.runs import RECIPE_OF_NOTHING

RUNS: Final = 10_000
WORKERS: Final = 200
PEOPLE: Final = 50
EXPECTED_SECONDS: Final = 20.0
_GIGABYTE: Final = 1024**3
_NAP_SECONDS: Final = 60.0
"""How often PostgreSQL's autovacuum looks, by its default."""

People = list[tuple[str, str, str]]
"""Id, project and sign-in of each person."""


@contextmanager
def database(where: str) -> Iterator[str]:
    """Make a database with all tables, and drop it at the end; its address is given."""
    if where == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            address = f"sqlite:///{folder}/tailor.sqlite"
            _migrate(address)
            yield address
        return
    name = f"tailor_growth_{new_id()}"
    with psycopg.connect(where, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        address = where.rsplit("/", 1)[0].replace("postgresql://", "postgresql+psycopg://", 1)
        try:
            _migrate(f"{address}/{name}")
            yield f"{address}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _migrate(address: str) -> None:
    engine = build_engine(address)
    migrate(engine)
    engine.dispose()


@contextmanager
def kept_in_order(engine: Engine) -> Iterator[bool]:
    """Do what autovacuum does, as often, on a server where it is switched off.

    The machines of our own tests are such; any other server does it by itself. Yields whether it
    had to be done here.
    """
    if engine.dialect.name == "sqlite" or _has_autovacuum(engine):
        yield False
        return
    over = threading.Event()
    tidier = threading.Thread(target=_tidy_until, args=(engine, over), name="autovacuum")
    _tidy(engine)
    tidier.start()
    try:
        yield True
    finally:
        over.set()
        tidier.join()


def _has_autovacuum(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.scalar(text("SHOW autovacuum")) == "on"


def _tidy_until(engine: Engine, over: threading.Event) -> None:
    while not over.wait(_NAP_SECONDS):
        _tidy(engine)


def _tidy(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def fill(engine: Engine) -> People:
    """Make people, their waiting runs, and announce the workers."""
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
        session.execute(insert(Run), [row_of_run(number, people) for number in range(RUNS)])
        for number in range(WORKERS):
            one = device(number)
            facts = DeviceFacts(host=one.host, kind=one.kind, devices=(one.device,), cores=8)
            report(session, f"{one.host}:1/runs", RUNS_QUEUE, facts)
    return people


def row_of_run(number: int, people: People) -> dict[str, Any]:
    """Return the columns of a waiting run, a tenth of which need a graphics card."""
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
        "expected_seconds": EXPECTED_SECONDS,
        # What line_up gives them: the person's own before it, each as long as it is thought to be.
        "turn": own * EXPECTED_SECONDS,
        "needs_kind": DeviceKind.CUDA if number % 10 == 0 else None,
        "event_count": 0,
    }


def device(number: int) -> OneDevice:
    """Return what a worker has: every second one a graphics card."""
    kind = DeviceKind.CUDA if number % 2 else DeviceKind.CPU
    name = f"GPU-{number}" if kind == DeviceKind.CUDA else "cpu"
    return OneDevice(f"host-{number}", kind, Device(id=name, name=name, memory_bytes=_GIGABYTE))
