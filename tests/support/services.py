"""PostgreSQL, Redis and the browser: found, started privately, or plainly left out.

Tests use the services that the environment names. Where one does not answer and its program is
installed, a private one is started for this test run. Where that cannot be, its tests are left
out and the run says so; in CI that is a failure instead.
"""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
import redis

from tests.support.waiting import wait_until

POSTGRES_VARIABLE = "TAILOR_TEST_POSTGRES_URL"
REDIS_VARIABLE = "TAILOR_TEST_REDIS_URL"
_DEFAULT_POSTGRES = "postgresql://root@127.0.0.1:5432/postgres"
_DEFAULT_REDIS = "redis://127.0.0.1:6379/9"


def prepare() -> list[str]:
    """Find or start the services and put their addresses into the environment.

    Returns:
        One sentence for each service that has to be left out.
    """
    missing = []
    os.environ.setdefault(POSTGRES_VARIABLE, _DEFAULT_POSTGRES)
    if not _postgres_answers(os.environ[POSTGRES_VARIABLE]):
        os.environ[POSTGRES_VARIABLE] = _start_postgres() or ""
    if not os.environ[POSTGRES_VARIABLE]:
        missing.append("PostgreSQL is not here: everything runs on SQLite alone.")
    os.environ.setdefault(REDIS_VARIABLE, _DEFAULT_REDIS)
    if not _redis_answers(os.environ[REDIS_VARIABLE]):
        os.environ[REDIS_VARIABLE] = _start_redis() or ""
    if not os.environ[REDIS_VARIABLE]:
        missing.append("Redis is not here: everything runs on the filesystem queue alone.")
    return missing


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url, socket_connect_timeout=3).ping())
    except redis.RedisError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_postgres() -> str | None:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(binaries[-1]) if binaries else None)
    if initdb is None or os.getuid() == 0:
        # PostgreSQL refuses to run as root; a root machine has to offer a running one.
        return None
    folder = Path(tempfile.mkdtemp(prefix="tailor-postgres-"))
    port = free_port()
    subprocess.run([initdb, "-D", str(folder), "-U", "tailor", "-A", "trust"], check=True)
    server = subprocess.Popen(
        [
            str(Path(initdb).with_name("postgres")),
            *("-D", str(folder), "-p", str(port), "-k", str(folder)),
        ]
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.terminate)
    url = f"postgresql://tailor@127.0.0.1:{port}/postgres"
    wait_until(lambda: _postgres_answers(url), timeout=30, what="the private PostgreSQL")
    return url


def _start_redis() -> str | None:
    program = shutil.which("redis-server")
    if program is None:
        return None
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    atexit.register(server.terminate)
    url = f"redis://127.0.0.1:{port}/9"
    wait_until(lambda: _redis_answers(url), timeout=30, what="the private Redis")
    return url
