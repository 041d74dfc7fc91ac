"""Every source of randomness, as plain data that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch

JsonObject = dict[str, Any]


def capture() -> tuple[JsonObject, dict[str, torch.Tensor]]:
    """Return the state of Python, NumPy, Torch and each CUDA device."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    plain = {
        "python": [version, list(internal), gauss],
        "numpy": [str(name), np.asarray(keys).tolist(), position, has_gauss, cached],
    }
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {
            f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())
        }
    return plain, tensors


def restore(plain: JsonObject, tensors: dict[str, torch.Tensor]) -> None:
    version, internal, gauss = plain["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = plain["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if (state := tensors.get(f"cuda.{index}")) is not None:
            torch.cuda.set_rng_state(state, index)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def derived_seed(*numbers: int) -> int:
    """Return a seed that looks like no other's, though the numbers lie close together."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
