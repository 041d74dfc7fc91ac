"""On what this worker trains: found without torch, which a worker never imports.

The graphics cards are those that the driver's own program lists and CUDA_VISIBLE_DEVICES leaves
visible; they count only if the installed torch can use them. A card is named by its UUID, because
the driver numbers cards by their place in the machine and CUDA by default by their speed.
"""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from app.settings import get_settings
from app.storage.folders import Storage
from app.workers.device import Device, DeviceFacts, DeviceKind, OneDevice
from worker.free_memory import total_ram_bytes

_LIBRARIES: Final = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
_LONGEST_ANSWER_SECONDS: Final = 20.0
_MEBIBYTE: Final = 1024**2
_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO: Final = Path("/proc/cpuinfo")


def describe(storage: Storage) -> DeviceFacts:
    """Return what this worker announces, with what is installed and was measured by now.

    Trainings are processes of their own: they meet the libraries that are there when they begin.
    """
    return _unchanging().model_copy(
        update={
            "libraries": library_versions(_LIBRARIES),
            "measured": _measured(measurements_file(storage)),
        }
    )


def environment_for(one: OneDevice) -> dict[str, str]:
    """Return what a process must be told that trains on this device and on no other."""
    told = {} if one.kind == DeviceKind.CPU else {"CUDA_VISIBLE_DEVICES": one.device.id}
    facts = _unchanging()
    if facts.count > 1 and "OMP_NUM_THREADS" not in os.environ:
        # Each would take all cores for itself otherwise, and they would wait for one another.
        told["OMP_NUM_THREADS"] = str(max(1, facts.cores // facts.count))
    return told


def measurements_file(storage: Storage) -> Path:
    """Where trials on this host write down what they measured: a JSON object."""
    return storage.path("runs") / f"measured-{host_name()}.json"


def host_name() -> str:
    """Return this machine's name, fit to be part of a file's name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60] or "host"


def visible_devices() -> tuple[DeviceKind, tuple[Device, ...]]:
    """Return the graphics cards that a training could use, or else the processor."""
    cards = _visible(_listed_cards(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if cards and _torch_knows_cuda():
        return DeviceKind.CUDA, cards
    return DeviceKind.CPU, _parts_of_processor(get_settings().processor_parts)


def _parts_of_processor(count: int) -> tuple[Device, ...]:
    name, memory = _cpu_name(), total_ram_bytes()
    if count == 1:
        return (Device(id="cpu", name=name, memory_bytes=memory),)
    return tuple(
        Device(id=f"cpu-{number}", name=f"part of {name}", memory_bytes=memory // count)
        for number in range(1, count + 1)
    )


@cache
def _unchanging() -> DeviceFacts:
    kind, devices = visible_devices()
    sizes = [device.memory_bytes for device in devices if device.memory_bytes is not None]
    return DeviceFacts(
        host=host_name(),
        kind=kind,
        devices=devices,
        memory_bytes=min(sizes, default=None),
        ram_bytes=total_ram_bytes(),
        cores=_cores(),
    )


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the libraries that are installed."""
    return {name: found for name in names if (found := _version(name))}


def _listed_cards() -> list[Device]:
    """Return what nvidia-smi lists, in its own order; nothing if it is not there or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=_LONGEST_ANSWER_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines()]
    return [_card(*row) for row in rows if len(row) == 3]


def _card(uuid: str, name: str, mebibytes: str) -> Device:
    # Cards that share the host's memory say [N/A].
    memory = int(mebibytes) * _MEBIBYTE if mebibytes.isdigit() else None
    return Device(id=uuid, name=name, memory_bytes=memory)


def _visible(cards: list[Device], named: str | None) -> tuple[Device, ...]:
    """Return the cards that CUDA_VISIBLE_DEVICES leaves; like CUDA, up to the first unknown one."""
    if named is None:
        return tuple(cards)
    visible: list[Device] = []
    for entry in (part.strip() for part in named.split(",")):
        found = _named(cards, entry)
        if found is None or found in visible:
            break
        visible.append(found)
    return tuple(visible)


def _named(cards: list[Device], entry: str) -> Device | None:
    if entry.isdigit():
        return cards[int(entry)] if int(entry) < len(cards) else None
    if entry.startswith("MIG-") and cards:
        # A slice of a card; how large it is, the driver does not list in this way.
        return Device(id=entry, name=f"part of {cards[0].name}")
    alike = [card for card in cards if entry and card.id.startswith(entry)]
    return alike[0] if len(alike) == 1 else None


def _torch_knows_cuda() -> bool:
    found = _version("torch")
    return bool(found) and not found.endswith("+cpu")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cores() -> int:
    """Return how many cores a training may use, within the container's limit."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, _, period = _CPU_MAX.read_text(encoding="ascii").strip().partition(" ")
        return max(1, min(usable, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return usable


def _cpu_name() -> str:
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else platform.machine() or "processor"


def _measured(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
