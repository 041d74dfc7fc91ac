"""A process of a team that is not its lead: `python -m worker.training.team.member`.

It does what the lead does, at the same time, with a share of the examples on a device of its own.
It publishes nothing, decides nothing and says nothing but why it failed. It ends when the lead
does.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from worker.training.events import EventWriter
from worker.training.process import keep_memory, share_the_processor, stay_offline
from worker.training.team.members import Invitation, wait_for_invitation


class _OnlyFailures:
    """Keeps a member's news to itself: the lead says the same."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON values of any kind)
        if event == "failure":
            self._events.emit(event, **fields)


def main() -> None:
    """Take part in the training of a run, and wait for the lead's end."""
    parser = argparse.ArgumentParser(description="Take part in the training of a run.")
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--fence", type=int, required=True)
    arguments = parser.parse_args()
    events = EventWriter.on_standard_output()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        # What people want is the lead's to hear.
        signal.signal(number, signal.SIG_IGN)
    stay_offline()
    share_the_processor()
    keep_memory()
    _take_part(arguments.run_folder.resolve(), arguments.fence, _OnlyFailures(events))


def _take_part(run_folder: Path, fence: int, events: _OnlyFailures) -> None:
    try:
        from app.runs.recipe import Recipe
        from worker.few_bits import bits_of, choose_library

        # What the lead leaves out it leaves out for itself alone.
        choose_library(bits_of(Recipe.read(run_folder), run_folder))
        from worker.training.memory import less_the_next_time
        from worker.training.team.member_run import MemberRun

        invitation: Invitation | None = wait_for_invitation()
        if invitation is None:
            return
        run = MemberRun(run_folder, fence, events, invitation)
        with less_the_next_time(run_folder):
            run.setup()
            run.train()
            run.cleanup()
    except Exception as error:  # noqa: BLE001 (the process's boundary: every end becomes an event)
        from worker.training.failures import describe

        events.emit("failure", **describe(error).as_event())
        return
    sys.stdin.read()


if __name__ == "__main__":
    main()
    # Libraries' threads and exit hooks have nothing to add.
    os._exit(0)
