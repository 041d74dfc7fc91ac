"""The real worker, all but its training process: `python -m tests.support.scripted_worker …`.

Two things about its surroundings can be told in the environment: for how long a broker believes in
a worker that has not acknowledged a message, and how far its clock is ahead.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta

import app.broker.options
import app.clock
import worker.child
from tests.support.workers import CLOCK_AHEAD_SECONDS, VISIBILITY_SECONDS

os.environ.setdefault("TAILOR_SPARE_TRAINING_PROCESS", "false")
worker.child.TRAINING_MODULE = "tests.support.scripted_child"  # type: ignore[misc]


def _doubt_workers_after(seconds: float) -> None:
    real = app.broker.options.broker_options

    def doubting(url: str) -> app.broker.options.BrokerOptions:
        options = real(url)
        options.transport_options["visibility_timeout"] = seconds
        return options

    app.broker.options.broker_options = doubting


def _set_clocks_ahead(seconds: float) -> None:
    real_time, real_now = time.time, app.clock.now
    ahead: Callable[[], float] = lambda: real_time() + seconds  # noqa: E731 (beside its twin)
    time.time = ahead
    app.clock.now = lambda: real_now() + timedelta(seconds=seconds)


if VISIBILITY_SECONDS in os.environ:
    _doubt_workers_after(float(os.environ[VISIBILITY_SECONDS]))
if CLOCK_AHEAD_SECONDS in os.environ:
    _set_clocks_ahead(float(os.environ[CLOCK_AHEAD_SECONDS]))

from worker.celery_app import main  # noqa: E402 (what stands above must come first)

if __name__ == "__main__":
    main()
