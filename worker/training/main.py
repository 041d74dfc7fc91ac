"""The training process: `python -m worker.training.main --run-folder PATH --fence N`.

It writes events to standard output as JSON lines and ends with 0 after a result, 3 after a
failure, 4 after it was asked to stop and has saved. It says its first sentence before it imports
what takes seconds to import.

With `--spare` in place of both it imports first and then waits to be told what to train.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from worker.training.events import EventWriter
from worker.training.orders import Order, wait_for_order
from worker.training.process import (
    forget_old_shapes,
    keep_memory,
    share_the_processor,
    stay_offline,
)
from worker.training.stopping import StopFlag, StoppedError
from worker.training.team.members import Members

SUCCEEDED: Final = 0
FAILED: Final = 3
STOPPED: Final = 4


def main() -> int:
    """Train what the command line says, or what comes over standard input."""
    parser = argparse.ArgumentParser(description="Train an adapter from a run's folder.")
    parser.add_argument("--run-folder", type=Path)
    parser.add_argument("--fence", type=int)
    parser.add_argument("--finish", action="store_true", help="keep what was learned, and no more")
    parser.add_argument(
        "--further-device", action="append", default=[], help="on which another process takes part"
    )
    parser.add_argument("--spare", action="store_true", help="wait for all these on standard input")
    arguments = parser.parse_args()
    events = EventWriter.on_standard_output()
    stay_offline()
    share_the_processor()
    forget_old_shapes()
    keep_memory()
    if not arguments.spare:
        if arguments.run_folder is None or arguments.fence is None:
            parser.error("--run-folder and --fence, or --spare")
        further = tuple(arguments.further_device)
        order = Order(arguments.run_folder, arguments.fence, arguments.finish, further)
        return train(order, events)
    _prepare()
    awaited = wait_for_order()
    return train(awaited, events) if awaited else SUCCEEDED


def _prepare() -> None:
    """Import what a training needs. What fails here fails again, and is told, in the training."""
    from app.runs.methods import Quantization
    from worker.few_bits import choose_library

    choose_library(Quantization.NONE)
    try:
        from worker.training import loop  # noqa: F401
        from worker.training.warming import warm_up

        warm_up()
    except Exception as error:  # noqa: BLE001 (a training without preparation is only slower)
        sys.stderr.write(f"[tailor] a spare process could not prepare itself: {error!r}\n")


def train(order: Order, events: EventWriter) -> int:
    """Run, and turn whatever ends the run into an event and an exit code."""
    stop = StopFlag(finishes=order.finishes)
    stop.listen()
    events.emit("phase", phase="loading_data", message="Reading your examples")
    run_folder, fence = order.run_folder.resolve(), order.fence
    try:
        from app.runs.recipe import Recipe
        from worker.few_bits import bits_of, choose_library

        # Before the import below, which takes them as long as it takes this process.
        further = order.further_devices
        members = Members(further, run_folder, fence, events) if further else None
        choose_library(bits_of(Recipe.read(run_folder), run_folder))
        from worker.training.loop import run_training

        run_training(run_folder, fence, events, stop, members)
    except StoppedError as stopped:
        events.emit("stopped", step=stopped.step)
        return STOPPED
    except BrokenPipeError:
        # Nobody listens any more: the run is someone else's by now.
        return STOPPED
    except Exception as error:  # noqa: BLE001 (the task's boundary: every end becomes an event)
        from worker.training.failures import describe

        events.emit("failure", **describe(error).as_event())
        return FAILED
    return SUCCEEDED


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Libraries' threads and exit hooks have nothing to add to what is on the disk by now.
    os._exit(code)
