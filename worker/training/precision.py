"""The arithmetic of a run: device, number format and threads, found out by trying and then kept.

What a processor claims is not enough: without AMX, oneDNN's bf16 products can be slower than fp32
ones on the very machines that list avx512_bf16. So both are tried, and the processor time that they
take is compared: time on the clock would say more about what else the machine does. The answer is
written down beside the runs, because the same seed and examples are to give the same model again,
and stored with the first checkpoint, because a run that goes on has to go on in the same numbers.
"""

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

import torch

from app.runs.methods import Quantization
from app.storage.durable import write_atomically
from worker.few_bits import LIBRARY
from worker.number_formats import card_has_bfloat16
from worker.training.arithmetic import ARITHMETIC

NOTEBOOK: Final = "number-formats.json"
_CALCULATING: Final = ("torch", "transformers", "peft", "tokenizers")
MISSING: Final = "missing"
"""Stands in the place of a version where a library is not installed."""
_SIZE: Final = 512
_ROUNDS: Final = 12
_WORTH_IT: Final = 1.5


@dataclass(frozen=True)
class Numbers:
    """With what a run calculates. Another arithmetic rounds differently, so a run keeps its own.

    Attributes:
        dtype: the number format of the frozen weights; the adapter is float32 always.
        threads: how many take part in one calculation on a processor.
        libraries: the versions of those that decide how it is calculated.
        arithmetic: Tailor's own, see arithmetic.py.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    libraries: dict[str, str]
    arithmetic: int = ARITHMETIC

    @classmethod
    def choose(cls, notebook: Path, bits: Quantization = Quantization.NONE) -> Self:
        """Return what suits this machine best, as it was found out and written down once.

        Args:
            notebook: where the machines' number formats are written down.
            bits: in how few the base model is held.
        """
        device = choose_device()
        dtype = remembered_dtype(device, notebook)
        more = () if bits is Quantization.NONE else (LIBRARY,)
        return cls(device, dtype, torch.get_num_threads(), libraries(*more))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return what a run began with."""
        return cls(
            torch.device(content["device"]),
            getattr(torch, content["dtype"]),
            int(content["threads"]),
            dict(content["libraries"]),
            # Checkpoints before 2026-11-27 lack it.
            int(content.get("arithmetic", 0)),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "device": self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": self.threads,
            "libraries": self.libraries,
            "arithmetic": self.arithmetic,
        }

    def difference_here(self) -> str:
        """Say in what this machine would calculate otherwise; empty if it would not."""
        here = {
            "device": choose_device().type,
            "Tailor's arithmetic": str(ARITHMETIC),
            **libraries(*self.libraries),
        }
        begun_with = {
            "device": self.device.type,
            "Tailor's arithmetic": str(self.arithmetic),
            **self.libraries,
        }
        return ", ".join(
            f"{name} was {begun_with.get(name, 'another')} and is {value} now"
            for name, value in here.items()
            if begun_with.get(name) != value
        )

    def apply(self) -> None:
        """Calculate like this from here on, and the same each time."""
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        # Part of that mode, meant for finding faults: it would write to all memory once more.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def libraries(*more: str) -> dict[str, str]:
    return {name: installed_version(name) for name in dict.fromkeys((*_CALCULATING, *more))}


def installed_version(library: str) -> str:
    """Return a library's version: also of one that a run began with and that went away since."""
    try:
        return version(library)
    except PackageNotFoundError:
        return MISSING


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def remembered_dtype(device: torch.device, notebook: Path) -> torch.dtype:
    """Return what was chosen on this machine before, or choose and write it down.

    A card is asked each time: it always says the same, and another of its machine may not.

    Args:
        device: what calculates.
        notebook: a JSON file with the choices of all machines that share the folder.
    """
    if device.type == "cuda":
        return choose_dtype(device)
    machine = f"{platform.node()} {platform.machine()} {device.type} torch {torch.__version__}"
    try:
        choices = dict(json.loads(notebook.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        choices = {}
    known = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}
    if choices.get(machine) not in known:
        choices[machine] = str(choose_dtype(device))
        write_atomically(notebook, json.dumps(choices, indent=2).encode())
    return known[choices[machine]]


def choose_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where it works and is faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if card_has_bfloat16() else torch.float32
    if not torch.backends.mkldnn.is_available():
        return torch.float32
    threads = torch.get_num_threads()
    # Alone, because threads that wait for each other take processor time as well.
    torch.set_num_threads(1)
    gain = _seconds(torch.float32) / _seconds(torch.bfloat16)
    torch.set_num_threads(threads)
    return torch.bfloat16 if gain > _WORTH_IT else torch.float32


def _seconds(dtype: torch.dtype) -> float:
    """Return the least processor time of a few matrix products."""
    left = torch.ones(_SIZE, _SIZE, dtype=dtype)
    torch.mm(left, left)
    least = float("inf")
    for _ in range(_ROUNDS):
        start = time.thread_time()
        torch.mm(left, left)
        least = min(least, time.thread_time() - start)
    return least
