"""Ask the chat server to give its memory back when a training needs it."""

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Final

import httpx

from app.chat.inference_token import ensure_inference_token
from app.runs.recipe import Recipe
from app.settings import Settings
from app.storage.folders import Storage

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 5.0
_ROOM_TO_WORK_BYTES: Final = 2 * 1024**3
# Weights in fp32 where the hardware lacks bf16, and again while they are being loaded.
_TIMES_THE_FILES: Final = 2


def make_room(settings: Settings, storage: Storage, recipe: Recipe) -> None:
    """Have chat models unloaded if memory looks short. Best effort: the training says the rest."""
    needed = _TIMES_THE_FILES * _weights_bytes(recipe.base_model_folder) + _ROOM_TO_WORK_BYTES
    free = free_memory_bytes()
    if free is None or free >= needed:
        return
    logger.info("%d bytes of memory are free, %d are wanted; asking the chat server.", free, needed)
    token = ensure_inference_token(settings, storage)
    try:
        httpx.post(
            f"{settings.resolved_inference_url}/v1/release",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_SECONDS,
        ).raise_for_status()
    except httpx.HTTPError as error:
        logger.info("The chat server did not give memory back: %s", error)


def free_memory_bytes() -> int | None:
    """Return the free memory of the device that trains; None if it cannot be found out."""
    return _free_gpu_bytes() or _free_ram_bytes()


def _weights_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _free_gpu_bytes() -> int | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        return int(answer.stdout.split()[0]) * 1024**2
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _free_ram_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
