"""Which number format the frozen weights take on this machine, found out by trying.

What a processor claims is not enough: without AMX, oneDNN's bf16 products can be slower than fp32
ones on the very machines that list avx512_bf16. So both are tried, and the processor time that they
take is compared: time on the clock would say more about what else the machine does. The answer is
stored with the first checkpoint, because a run that goes on has to go on in the same numbers.
"""

import time
from typing import Final

import torch

_SIZE: Final = 512
_ROUNDS: Final = 12
_WORTH_IT: Final = 1.5


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where it works and is faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
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
