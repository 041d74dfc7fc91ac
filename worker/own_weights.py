"""Weights that a process holds itself, where it would otherwise look into their file each time.

safetensors hands out views of the file, mapped into memory, wherever it already has the wanted
number format. Whoever then writes into that file changes the model under its users: a training goes
on with other weights, and a file that was cut short ends the process with SIGBUS.
"""

import ctypes
import itertools
import mmap
import sys
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

_MAPS: Final = Path("/proc/self/maps")
_MADV_DONTNEED: Final = 4
_Range = tuple[int, int]


def hold_weights(model: torch.nn.Module) -> None:
    """Copy into memory of its own what of a model is still only a view of a file.

    The file's pages are let go one weight after the other, so no more is held than before, but for
    the largest weight.
    """
    mapped = _mapped_files()
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        storage = tensor.untyped_storage()
        if tensor.device.type != "cpu" or not _lies_in(mapped, storage.data_ptr()):
            continue
        pages = _whole_pages(storage.data_ptr(), storage.nbytes())
        tensor.data = tensor.detach().clone()
        _let_go(pages)


def _mapped_files() -> Sequence[_Range]:
    """Return where in memory files lie, in order; nothing on systems that cannot say it."""
    if sys.platform != "linux":
        return ()
    ranges = []
    for line in _MAPS.read_text().splitlines():
        addresses, _rights, _offset, _device, inode, *_path = line.split(maxsplit=5)
        if inode != "0":
            first, _, end = addresses.partition("-")
            ranges.append((int(first, 16), int(end, 16)))
    return ranges


def _lies_in(ranges: Sequence[_Range], address: int) -> bool:
    place = bisect_right(ranges, (address, sys.maxsize)) - 1
    return place >= 0 and address < ranges[place][1]


def _whole_pages(address: int, size: int) -> _Range:
    """Return the first and the end of the pages that hold nothing else."""
    page = mmap.PAGESIZE
    return -(-address // page) * page, (address + size) // page * page


def _let_go(pages: _Range) -> None:
    first, end = pages
    if first < end:
        # A hint: where it is not followed, the pages go when the whole file is let go.
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(first), ctypes.c_size_t(end - first), _MADV_DONTNEED
        )
