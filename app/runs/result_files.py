"""The files with what a training made: an adapter's weights, or a whole model's in some parts."""

import hashlib
from pathlib import Path
from typing import Final

from app.storage.durable import file_sha256

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_WHOLE_MODEL: Final = "model*.safetensors"


def weights_files(folder: Path) -> list[Path]:
    """Return the files with the weights, in a fixed order; none if nothing whole is there."""
    adapter = folder / ADAPTER_WEIGHTS
    return [adapter] if adapter.is_file() else sorted(folder.glob(_WHOLE_MODEL))


def is_whole_model(folder: Path) -> bool:
    """Say whether a whole model was trained, which needs no base model beside it."""
    return not (folder / ADAPTER_WEIGHTS).exists() and bool(weights_files(folder))


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of the weights; of several files, that of their names and sums.

    Raises:
        FileNotFoundError: if there are none.
    """
    files = weights_files(folder)
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights")
    if len(files) == 1:
        return file_sha256(files[0])
    names_and_sums = "".join(f"{path.name}:{file_sha256(path)}\n" for path in files)
    return hashlib.sha256(names_and_sums.encode()).hexdigest()
