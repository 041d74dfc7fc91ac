"""The real worker, all but its training process: `python -m tests.support.scripted_worker …`."""

import os

import worker.child

os.environ.setdefault("TAILOR_SPARE_TRAINING_PROCESS", "false")
worker.child.TRAINING_MODULE = "tests.support.scripted_child"  # type: ignore[misc]

from worker.celery_app import main  # noqa: E402 (the line above must come first)

if __name__ == "__main__":
    main()
