"""What the training process asks of its surroundings before anything heavy is imported."""

import ctypes
import os
import sys
from typing import Final

from app.runs.costs.batching import most_lanes

_MOST_PRODUCTS: Final = 64
_MOST_PRODUCTS_OF_ALL: Final = 128
_M_ARENA_MAX: Final = -8
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def stay_offline() -> None:
    """Keep every library from asking the network for anything."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_VERBOSITY="error",
        TQDM_DISABLE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )


def share_the_processor() -> None:
    """Let a thread that waits for the others sleep instead of spinning.

    Must stand in the environment before torch loads its OpenMP library. Alone on the machine,
    spinning is a little faster; beside the pages and the chat it made steps many times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def forget_old_shapes() -> None:
    """Keep oneDNN and what stands before it from remembering products of all sizes there ever were.

    Must stand in the environment before torch loads. Nearly every pass has another number of
    tokens, so what is remembered of it is of use to the other layers of that pass and to nothing
    later. By default both remember a thousand: they held half a gigabyte, and lay so scattered that
    the blocks freed around them were of no use either. A process grew to three and four times of
    what a pass needs; with this it does not grow at all.
    """
    # oneDNN remembers for all lanes together (with 64 for one or two of them, a tenth of the time
    # went into making products anew), what stands before it for each thread by itself.
    of_all = max(_MOST_PRODUCTS_OF_ALL, _MOST_PRODUCTS * most_lanes(_threads()))
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(of_all))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(_MOST_PRODUCTS))


def _threads() -> int:
    """Return how many threads torch will take, as far as can be said before it is there."""
    # The variable may name a number for each level of nesting, of which the first is the outermost.
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(wanted) if wanted.isdigit() else os.cpu_count() or 1


def keep_memory() -> None:
    """Let glibc keep freed memory for the next step instead of handing it back each time.

    Each step allocates and frees the same large blocks; giving them back to the kernel and
    getting zeroed pages again cost up to a quarter of the time (measured on two cores).
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl has none
        return
    # Lanes share what is free: an arena for each thread grows and shrinks in small pieces.
    libc.mallopt(_M_ARENA_MAX, 1)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    libc.mallopt(_M_TOP_PAD, 1 << 26)
