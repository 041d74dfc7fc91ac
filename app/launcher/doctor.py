"""`tailor doctor`: what works on this machine and what does not, in plain words."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import httpx
from sqlalchemy.exc import OperationalError

from app.database.engine import build_engine
from app.database.migrate import is_current
from app.launcher.broker_check import broker_problem
from app.settings import Settings
from app.version import VERSION

_COMFORTABLE_FREE_BYTES = 10 * 1024**3
_LEAST_FREE_BYTES = 1024**3
_SHOWN_VERSIONS = ("fastapi", "sqlalchemy", "celery", "torch", "transformers", "peft")

# Torch is asked in a process of its own, so that this one stays quick and never needs it.
_ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "threads": torch.get_num_threads(),
    "gpu": torch.cuda.get_device_name(0) if cuda else None,
    "memory": torch.cuda.get_device_properties(0).total_memory if cuda else 0,
}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    sentence: str
    is_problem: bool = False
    is_warning: bool = False

    @property
    def mark(self) -> str:
        if self.is_problem:
            return "✗"
        return "!" if self.is_warning else "✓"


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything Tailor leans on, one finding after the other."""
    yield Finding("Tailor", f"version {VERSION}.")
    yield _python()
    yield from _torch()
    yield _disk(settings)
    yield _database(settings)
    yield _broker(settings)
    yield _chat_server(settings)
    yield _hub(settings)
    yield _versions()


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    sentence = f"{platform.python_version()} on {platform.system()} {platform.machine()}."
    return Finding("Python", sentence if good else sentence + " Tailor needs 3.11.", not good)


def _torch() -> Iterator[Finding]:
    answer = subprocess.run(
        [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        yield Finding(
            "Torch",
            "not installed here or does not load, so this machine can serve pages but not train. "
            "Run: make install",
            is_warning=True,
        )
        return
    facts = json.loads(answer.stdout)
    yield Finding("Torch", f"version {facts['version']}, {facts['threads']} processor threads.")
    if facts["gpu"]:
        memory = facts["memory"] / 1024**3
        yield Finding("Graphics card", f"{facts['gpu']} with {memory:.0f} GB of memory.")
    else:
        yield Finding(
            "Graphics card",
            "none found; training runs on the processor. Good for small models.",
            is_warning=True,
        )


def _disk(settings: Settings) -> Finding:
    folder = settings.storage_root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    sentence = f"{free / 1024**3:.1f} GB free for {settings.storage_root}."
    if free < _LEAST_FREE_BYTES:
        return Finding("Disk", sentence + " That is too little; make room.", is_problem=True)
    return Finding("Disk", sentence, is_warning=free < _COMFORTABLE_FREE_BYTES)


def _database(settings: Settings) -> Finding:
    engine = build_engine(settings.resolved_database_url)
    kind = engine.url.get_backend_name()
    try:
        if is_current(engine):
            return Finding("Database", f"{kind} answers and is up to date.")
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        return Finding(
            "Database", f"{kind} does not answer: {reason} Check TAILOR_DATABASE_URL.", True
        )
    finally:
        engine.dispose()
    return Finding("Database", f"{kind} answers; run `tailor migrate` to update it.", False, True)


def _broker(settings: Settings) -> Finding:
    problem = broker_problem(settings)
    kind = settings.resolved_broker_url.split(":", 1)[0]
    return Finding("Job queue", problem or f"{kind} works.", is_problem=bool(problem))


def _chat_server(settings: Settings) -> Finding:
    address = settings.resolved_inference_url
    try:
        httpx.get(f"{address}/health", timeout=3).raise_for_status()
    except httpx.HTTPError:
        return Finding(
            "Chat server",
            f"does not answer at {address}. That is normal while Tailor is not running.",
            is_warning=True,
        )
    return Finding("Chat server", f"answers at {address}.")


def _hub(settings: Settings) -> Finding:
    if settings.offline:
        return Finding("Model hub", "switched off by TAILOR_OFFLINE; nothing is downloaded.")
    try:
        httpx.head(settings.hub_url, timeout=5, follow_redirects=True)
    except httpx.HTTPError:
        return Finding(
            "Model hub",
            f"{settings.hub_url} cannot be reached. The built-in model and folders work without.",
            is_warning=True,
        )
    return Finding("Model hub", f"{settings.hub_url} answers.")


def _versions() -> Finding:
    found = []
    for package in _SHOWN_VERSIONS:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} –")
    return Finding("Versions", ", ".join(found) + ".")
