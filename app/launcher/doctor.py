"""`tailor doctor`: what works on this machine and what does not, in plain words."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx
from sqlalchemy import make_url

from app.database.engine import build_engine
from app.database.migrate import DatabaseState, state_of
from app.database.session import DATABASE_AWAY
from app.launcher.broker_check import broker_problem
from app.launcher.database_check import WRONG_TABLES
from app.settings import Settings
from app.version import VERSION

_COMFORTABLE_FREE_BYTES = 10 * 1024**3
_LEAST_FREE_BYTES = 1024**3
_TORCH_SECONDS = 120
_SHOWN_VERSIONS = ("fastapi", "sqlalchemy", "celery", "torch", "transformers", "peft")

# Torch is asked in a process of its own, so that this one stays quick and never needs it.
_ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "threads": torch.get_num_threads(),
    "cuda": torch.version.cuda,
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
    """Look at everything Tailor leans on, one finding after the other.

    What goes wrong while looking is a finding too: whoever asks the doctor has trouble already.
    """
    yield Finding("Tailor", f"version {VERSION}.")
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("Python", lambda: [_python()]),
        ("Torch", _torch),
        ("Data folder", lambda: [_data_folder(settings)]),
        ("Disk", lambda: [_disk(settings)]),
        ("Database", lambda: [_database(settings)]),
        ("Job queue", lambda: [_broker(settings)]),
        ("Chat server", lambda: [_chat_server(settings)]),
        ("Model hub", lambda: [_hub(settings)]),
        ("Versions", lambda: [_versions()]),
    )
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - the boundary of a check
            reason = str(error).strip().splitlines()[:1]
            words = f"{type(error).__name__}: {' '.join(reason)}"
            yield Finding(name, f"could not be looked at: {words}", is_problem=True)


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    sentence = f"{platform.python_version()} on {platform.system()} {platform.machine()}."
    return Finding("Python", sentence if good else sentence + " Tailor needs 3.11.", not good)


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding(
            "Torch",
            "not installed here, so this machine serves pages but does not train. Training and "
            "chat need a worker: make install, or the worker's container.",
            is_warning=True,
        )
        return
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TORCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        sentence = f"did not answer within {_TORCH_SECONDS} s; the graphics driver may hang."
        yield Finding("Torch", sentence, is_problem=True)
        return
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        yield Finding("Torch", f"does not load: {last} Run: make install", is_problem=True)
        return
    facts = json.loads(answer.stdout)
    yield Finding("Torch", f"version {facts['version']}, {facts['threads']} processor threads.")
    yield _graphics_card(facts, has_driver=shutil.which("nvidia-smi") is not None)


def _graphics_card(facts: dict[str, Any], *, has_driver: bool) -> Finding:
    """Say what torch can do with the card, if there is one.

    Args:
        facts: what torch said of itself.
        has_driver: whether the machine has NVIDIA's driver, used by torch or not.
    """
    name = "Graphics card"
    if facts["gpu"]:
        memory = facts["memory"] / 1024**3
        return Finding(name, f"{facts['gpu']} with {memory:.0f} GB of memory.")
    if has_driver:
        built_for = f"CUDA {facts['cuda']}" if facts["cuda"] else "machines without a card"
        return Finding(
            name,
            f"there is a driver, but torch, built for {built_for}, cannot use the card. Its driver "
            "may be too old; update it. Until then training runs on the processor.",
            is_warning=True,
        )
    return Finding(
        name,
        "none found; training runs on the processor. Good for small models.",
        is_warning=True,
    )


def _data_folder(settings: Settings) -> Finding:
    for folder in dict.fromkeys((settings.data_dir, settings.storage_root)):
        existing = folder
        while not existing.exists():
            existing = existing.parent
        try:
            with TemporaryFile(dir=existing):
                pass
        except OSError as error:
            sentence = f"{folder} cannot be written to: {error.strerror}. Give Tailor the right to."
            return Finding("Data folder", sentence, is_problem=True)
    return Finding("Data folder", f"{settings.data_dir} can be written to.")


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
    url = make_url(settings.resolved_database_url)
    kind = url.get_backend_name()
    if kind == "sqlite" and not Path(str(url.database)).exists():
        # To look into it would make it.
        return Finding("Database", "there is none yet; it is made at the first start.", False, True)
    engine = build_engine(settings.resolved_database_url)
    try:
        state = state_of(engine)
    except DATABASE_AWAY as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return Finding(
            "Database", f"{kind} does not answer: {reason} Check TAILOR_DATABASE_URL.", True
        )
    finally:
        engine.dispose()
    if state is DatabaseState.CURRENT:
        return Finding("Database", f"{kind} answers and is up to date.")
    is_newer = state is DatabaseState.NEWER
    return Finding("Database", f"{kind} answers. {WRONG_TABLES[state]}", is_newer, not is_newer)


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
        answer = httpx.head(settings.hub_url, timeout=5, follow_redirects=True)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        return Finding(
            "Model hub",
            f"{settings.hub_url} answers, but with status {error.response.status_code}. "
            "Check HF_ENDPOINT. The built-in model and folders work without.",
            is_warning=True,
        )
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
