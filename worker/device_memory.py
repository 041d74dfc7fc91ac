"""How much memory a device has, and giving it back for real."""

import ctypes
import gc
import sys

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
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
