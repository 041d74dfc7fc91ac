"""The real worker, which marks where it is and can be killed there: see places.py."""

from pathlib import Path
from typing import Any

import worker.child

worker.child.TRAINING_MODULE = "tests.support.killable_child"  # type: ignore[misc]

from app.storage.folders import get_storage  # noqa: E402 (the line above must come first)
from tests.support.marked_places import IN_WORKER, mark_places  # noqa: E402
from worker.celery_app import main  # noqa: E402


def _folder_of(*arguments: Any) -> Path:  # noqa: ANN401 (whatever the functions take)
    """Find the run's folder among a function's arguments, or the run whose folder it is."""
    for one in arguments:
        if isinstance(one, Path):
            return one
        if type(one).__name__ in {"Run", "HeldRun"}:
            return get_storage().path("runs", one.id)
    raise LookupError("no run among the arguments")


if __name__ == "__main__":
    mark_places(IN_WORKER, _folder_of)
    main()
