"""`tailor up`: all of Tailor on one machine, from nothing to an open page."""

import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.accounts.service import setup_link
from app.base_models.service import register_built_in
from app.chat.inference_token import ensure_inference_token
from app.database.engine import get_engine
from app.database.migrate import migrate
from app.database.session import transaction
from app.launcher.broker_check import broker_problem
from app.launcher.database_check import require_known_tables
from app.launcher.failures import StartError
from app.launcher.processes import ProcessGroup, run_until_signal
from app.launcher.programs import EVERYTHING
from app.settings import Settings
from app.storage.folders import get_storage

_READY_SECONDS = 60
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not chosen


def prepare(settings: Settings) -> None:
    """Bring data folder and database up to date. A set-up link that was given out stays good."""
    os.umask(0o077)
    storage = get_storage()
    storage.prepare()
    ensure_inference_token(settings, storage)
    require_known_tables(get_engine())
    migrate(get_engine())
    with transaction() as session:
        register_built_in(session, storage)


def fresh_setup_link(settings: Settings) -> str | None:
    """Return a one-time set-up link, or None if someone has an account already."""
    with transaction() as session:
        return setup_link(session, settings)


def up(settings: Settings) -> None:
    """Start everything, print where to go, and stay until Ctrl-C.

    Raises:
        StartError: if the data folder is in use, a port is taken, the job queue is away, or the
            pages do not come up.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_one(settings.data_dir):
        _require_free_port(settings.host, settings.port, "TAILOR_PORT")
        if not settings.inference_url:
            _require_free_port(
                settings.inference_host, settings.resolved_inference_port, "TAILOR_INFERENCE_PORT"
            )
        if problem := broker_problem(settings):
            raise StartError(problem)
        prepare(settings)
        link = fresh_setup_link(settings)
        group = ProcessGroup(EVERYTHING, settings.data_dir / "logs")
        failed = threading.Event()
        greeter = threading.Thread(target=_greet, args=(settings, link, group, failed), daemon=True)
        greeter.start()
        run_until_signal(group, "\n  Stopping; a training saves its state first …\n")
    if failed.is_set():
        raise StartError(
            f"The pages did not come up within {_READY_SECONDS} s. "
            f"See {settings.data_dir / 'logs' / 'web.log'}."
        )
    sys.stdout.write("Tailor has stopped. Everything is kept; start it again to continue.\n")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder, so that two Tailors never share one."""
    with (data_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"Tailor is already running with the data folder {data_dir}. "
                "Use that one, or set TAILOR_DATA_DIR to another folder."
            ) from error
        yield


def _require_free_port(host: str, port: int, variable: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise StartError(
                f"This machine has no address {host}: {error.strerror}. "
                f"Set {variable.replace('PORT', 'HOST')} to one that it has, such as 127.0.0.1."
            ) from error
        except OSError as error:
            raise StartError(
                f"Port {port} on {host} cannot be used: {error.strerror}. "
                f"Stop what uses it, or set {variable} to another port."
            ) from error


def _greet(
    settings: Settings, link: str | None, group: ProcessGroup, failed: threading.Event
) -> None:
    """Say where to go once the pages answer; if they never do, stop everything."""
    host = "127.0.0.1" if settings.host in _EVERY_ADDRESS else settings.host
    if not _answers(f"http://{host}:{settings.port}/health"):
        failed.set()
        group.request_stop()
        return
    lines = ["", f"  Tailor is running: {settings.resolved_public_url}", ""]
    if link:
        lines += [
            "  First visit? This link makes you the administrator (once, within 24 hours):",
            f"  {link}",
            "",
        ]
    if settings.host in _EVERY_ADDRESS and not settings.public_url:
        lines += [
            "  Other machines reach this port, but are answered only once TAILOR_PUBLIC_URL names",
            "  the address they use.",
            "",
        ]
    lines += [f"  Everything is kept in {settings.data_dir}. Ctrl-C stops Tailor.", ""]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _answers(url: str) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return True
        except httpx.HTTPError:
            time.sleep(0.2)
    return False
