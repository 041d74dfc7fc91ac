"""Ask the chat server to give its memory back when a training needs it."""

import logging
import time
from typing import Final

import httpx

from app.base_models.files import weights_bytes
from app.chat.inference_token import ensure_inference_token
from app.runs.methods import METHODS
from app.runs.recipe import Recipe
from app.settings import Settings
from app.storage.folders import Storage
from app.workers.device import DeviceKind, OneDevice
from worker.free_memory import free_gpu_bytes, free_ram_bytes

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 5.0
# An answer that is being written ends first. The run is held for 30 seconds by now, and nobody
# renews that before the training process is there.
_LONGEST_WAIT_SECONDS: Final = 15.0
# So long the chat loads nothing, for the training to take the memory that was made free.
_HOLD_SECONDS: Final = 60.0
# The training reads all weights once, to see that they are the right ones, before it loads them.
_SLOW_DISK_BYTES_PER_SECOND: Final = 100e6
_SECONDS_BETWEEN_LOOKS: Final = 0.25
_ROOM_TO_WORK_BYTES: Final = 2 * 1024**3
# Weights in fp32 where the hardware lacks bf16, and again while they are being loaded.
_TIMES_THE_FILES: Final = 2
# Files in 16 bits; weights, gradients and the optimizer's two moments in 32.
_TIMES_THE_FILES_WHEN_ALL_LEARNS: Final = 10


def make_room(
    settings: Settings, storage: Storage, recipe: Recipe, device: OneDevice | None = None
) -> None:
    """Have chat models unloaded if memory looks short. Best effort: the training says the rest.

    Args:
        settings: where the chat server is.
        storage: where its token lies.
        recipe: what is to be trained.
        device: on what; None for what a new process would use.
    """
    weights = weights_bytes(recipe.base_model_folder)
    is_frozen = METHODS[recipe.method].base_stays_frozen
    times = _TIMES_THE_FILES if is_frozen else _TIMES_THE_FILES_WHEN_ALL_LEARNS
    needed = times * weights + _ROOM_TO_WORK_BYTES
    free = free_memory_bytes(device)
    if free >= needed:
        return
    logger.info("%d bytes of memory are free, %d are wanted; asking the chat server.", free, needed)
    try:
        unload_chat_models(
            settings.resolved_inference_url,
            ensure_inference_token(settings, storage),
            hold_seconds=_HOLD_SECONDS + weights / _SLOW_DISK_BYTES_PER_SECOND,
        )
    except httpx.HTTPError as error:
        logger.info("The chat server did not give memory back: %s", error)


def unload_chat_models(
    url: str,
    token: str,
    *,
    longest_wait: float = _LONGEST_WAIT_SECONDS,
    hold_seconds: float = _HOLD_SECONDS,
) -> bool:
    """Have the chat server unload everything, and wait until it has; say whether it did in time.

    Raises:
        httpx.HTTPError: if it does not answer, or refuses.
    """
    deadline = time.monotonic() + longest_wait
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS) as client:
        asked = client.post("/v1/release", headers=headers, json={"hold_seconds": hold_seconds})
        before = asked.raise_for_status().json()["releases"]
        # It answers before the models are gone: first comes the end of what is being written.
        # Its count is looked at, because “nothing is loaded” may be true for a moment only.
        while client.get("/health").raise_for_status().json()["releases"] <= before:
            if time.monotonic() > deadline:
                logger.info("The chat server still holds models after %.0f s.", longest_wait)
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def free_memory_bytes(device: OneDevice | None = None) -> int:
    """Return the free memory of the device that trains; None for what a new process would use."""
    if device is not None and device.kind == DeviceKind.CPU:
        return free_ram_bytes()
    free = free_gpu_bytes(None if device is None else device.device.id)
    # A full GPU has 0 bytes free, which is an answer too.
    return free if free is not None else free_ram_bytes()
