"""Put away what nobody will read again: in the runs' folders, and of who had which device."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.clock import now
from app.runs import repository
from app.runs.queue.limits import WEEK_SECONDS
from app.runs.queue.repository import forget_uses
from app.runs.remedies import can_go_on
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.storage.folders import Storage

_ABANDONED_SECONDS: Final = 3600
# A run that was just stopped may have a training process for a second or two more.
_SETTLED: Final = timedelta(minutes=1)
# So long a run that failed can go on from what it had saved.
_KEPT_AFTER_FAILURE: Final = timedelta(days=30)
# Limits look back a week; the second one is for whoever wonders afterwards.
_USES_KEPT_SECONDS: Final = 2 * WEEK_SECONDS
_ONLY_TO_GO_ON: Final = ("checkpoints", "tokens")
_HALF_MADE: Final = (".adapter-*", ".tmp-*")


def remove_what_is_no_longer_needed(run_folder: Path) -> None:
    """Drop what only a run that goes on would need; one that starts again begins afresh."""
    for leftover in _leftovers(run_folder):
        shutil.rmtree(leftover, ignore_errors=True)


def tidy_run_folders(session: Session, storage: Storage) -> int:
    """Delete folders that no run names, and what runs that are over only needed to go on.

    A run that was stopped while it waited, or whose worker died at its end, has nobody else who
    tidies up behind it.

    Returns:
        How many folders of runs were changed.
    """
    folders = {path.name: path for path in storage.path("runs").iterdir() if path.is_dir()}
    known = repository.all_ids(session)
    oldest = storage.moment() - _ABANDONED_SECONDS
    nameless = [
        path for name, path in folders.items() if name not in known and _is_older(path, oldest)
    ]
    for path in nameless:
        shutil.rmtree(path, ignore_errors=True)
    full = [name for name, path in folders.items() if name in known and _leftovers(path)]
    settled = now() - _SETTLED
    over = [
        *repository.ended_before(
            session, full, settled, (RunStatus.SUCCEEDED, RunStatus.CANCELLED)
        ),
        *(run.id for run in repository.failed_before(session, full, settled) if _is_given_up(run)),
    ]
    for name in over:
        remove_what_is_no_longer_needed(folders[name])
    named = [
        name for name, path in folders.items() if name in known and (path / "adapter").exists()
    ]
    for name in repository.ended_before(session, named, settled, (RunStatus.CANCELLED,)):
        # It got its name in the moment in which someone stopped the run: it is no version.
        shutil.rmtree(folders[name] / "adapter", ignore_errors=True)
    return len(nameless) + len(over)


def forget_old_uses(session: Session) -> int:
    """Forget who had a device when no limit can count it any more; return how many uses."""
    return forget_uses(session, _USES_KEPT_SECONDS)


def _is_given_up(run: Run) -> bool:
    """Whether a failed run has nothing to go on from any more, or nobody came back for it."""
    if not can_go_on(run):
        return True
    return run.finished_at is not None and run.finished_at < now() - _KEPT_AFTER_FAILURE


def _leftovers(run_folder: Path) -> list[Path]:
    found = [run_folder / name for name in _ONLY_TO_GO_ON if (run_folder / name).is_dir()]
    return found + [path for pattern in _HALF_MADE for path in run_folder.glob(pattern)]


def _is_older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False
