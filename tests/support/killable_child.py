"""The real training process, which marks where it is and can be killed there: see places.py."""

import os
import sys
from pathlib import Path

from tests.support import places
from tests.support.marked_places import IN_TRAINING, STARTING, mark_places
from worker.training import main as real
from worker.training.events import EventWriter
from worker.training.orders import Order

_real_train = real.train


def _train(order: Order, events: EventWriter) -> int:
    folder = order.run_folder.resolve()

    def of_this_run(*_: object, **__: object) -> Path:
        return folder

    with places.at(folder, STARTING):
        mark_places(IN_TRAINING, of_this_run)
    return _real_train(order, events)


if __name__ == "__main__":
    real.train = _train
    code = real.main()
    sys.stderr.flush()
    os._exit(code)
