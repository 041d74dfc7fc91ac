"""Give a finished adapter its name. Doing it twice does nothing the second time."""

import shutil
from pathlib import Path
from typing import Final

from app.runs.child_events import ResultEvent
from app.runs.result_files import weights_sha256
from app.storage.durable import sync_folder

ADAPTER_FOLDER: Final = "adapter"
_REPLACED: Final = ".tmp-replaced-adapter"


class DamagedAdapterError(Exception):
    """What was trained is not what the training process said it wrote."""


def check_adapter(run_folder: Path, result: ResultEvent) -> None:
    """Compare the adapter's file with its announced SHA-256; slow, so done before any lock.

    Raises:
        DamagedAdapterError: if it is missing or differs.
    """
    if not any(
        _holds(run_folder / name, result) for name in (result.adapter_folder, ADAPTER_FOLDER)
    ):
        raise DamagedAdapterError(f"{result.adapter_folder} does not hold the announced weights")


def promote(run_folder: Path, result: ResultEvent) -> None:
    """Rename the checked folder to `adapter`, in the place of one that was never announced."""
    finished, target = run_folder / result.adapter_folder, run_folder / ADAPTER_FOLDER
    if not finished.is_dir():
        # It has its name already: the transaction around this is being tried again.
        return
    if target.exists():
        replaced = run_folder / _REPLACED
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    finished.rename(target)
    sync_folder(run_folder)


def _holds(folder: Path, result: ResultEvent) -> bool:
    try:
        return weights_sha256(folder) == result.adapter_sha256
    except OSError:
        return False
