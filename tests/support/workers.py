"""Real Celery workers as processes of their own, to be stopped, killed and started again."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Self

from redis import Redis, RedisError
from sqlalchemy import Engine, text

from tests.support.services import REDIS_VARIABLE
from tests.support.waiting import wait_until

# What scripted_worker.py can be told about its surroundings.
VISIBILITY_SECONDS: Final = "TAILOR_TEST_VISIBILITY_SECONDS"
CLOCK_AHEAD_SECONDS: Final = "TAILOR_TEST_CLOCK_AHEAD_SECONDS"


class CeleryWorker:
    """A worker of the runs queue, in a process group of its own.

    Args:
        environment: TAILOR_… settings.
        log: where its output goes.
        module: worker.celery_app, or the one that trains by script.
    """

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        module: str = "tests.support.scripted_worker",
    ) -> None:
        self._environment = environment
        self._log = log
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, "--queue", "runs"],
                stdout=log,
                stderr=log,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")},
                    "TAILOR_MEASURE_MACHINE": "false",
                    **self._environment,
                },
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pool_pids(self) -> list[int]:
        return children_of(self.pid)

    def kill_main(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def kill_everything(self, run_pids: list[int]) -> None:
        """Kill its group and the training processes, which have groups of their own."""
        for kill, pid in [(os.killpg, self.pid), *((os.killpg, pid) for pid in run_pids)]:
            try:
                kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.wait()

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = 40) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self.is_alive:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


def children_of(pid: int) -> list[int]:
    """Return the living children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


def command_of(pid: int) -> bytes:
    """Return the arguments of a process, each with a zero behind; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def put_to_sleep(pids: list[int], engine: Engine) -> None:
    """Stop processes at a moment when none of them writes to the database.

    A machine that sleeps takes its SQLite with it, so a sleeper that keeps the only write lock from
    a worker that is awake is a case of this test alone. PostgreSQL ends such a sleeper's
    transaction after a minute, for which no test waits.
    """

    def asleep_between_transactions() -> bool:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if not _is_anyone_writing(engine):
            return True
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return False

    wait_until(asleep_between_transactions, timeout=30, what="a moment without a transaction")


def _is_anyone_writing(engine: Engine) -> bool:
    if engine.dialect.name == "postgresql":
        others = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        with engine.connect() as connection:
            return bool(connection.execute(others).scalar_one())
    assert engine.url.database is not None
    with closing(sqlite3.connect(engine.url.database, timeout=0.5)) as probe:
        try:
            probe.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@contextmanager
def own_redis_database(number: int) -> Iterator[str]:
    """The address of an empty Redis database of the tests' server."""
    url = os.environ[REDIS_VARIABLE].rsplit("/", 1)[0] + f"/{number}"
    client = Redis.from_url(url)
    client.flushdb()
    yield url
    client.flushdb()


def wait_until_gone(pids: list[int], timeout: float) -> None:
    wait_until(
        lambda: not any(is_running(pid) for pid in pids),
        timeout=timeout,
        what=f"the end of processes {pids}",
    )


class PrivateRedis:
    """A Redis of one test's own, to be killed and started again, empty."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self._port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no"),
            ],
            stdout=subprocess.DEVNULL,
        )
        client = Redis(port=self._port)
        wait_until(lambda: _answers(client), timeout=20, what="the private Redis")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
