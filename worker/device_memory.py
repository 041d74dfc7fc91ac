"""How much memory a device has, and giving it back for real."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch

from worker.free_memory import free_ram_bytes


def available_bytes(device: torch.device) -> int:
    """Return the bytes that a model could take on the device right now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_ram_bytes()


def give_back() -> None:
    """Return freed memory to the system; Python and the allocator would keep it otherwise."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    give_back_pieces()


def give_back_pieces() -> None:
    """Return free pages of the heap to the system, where its allocator can do so."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Return how much of the machine's memory this process has now; 0 where nobody says."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()
