"""Tailor's own loop: `python ours.py FOLDER`. Prints one JSON line."""

import shutil
import sys
from pathlib import Path

from contest import Clock, tell

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[0] = str(REPOSITORY)

from worker.training.process import forget_old_shapes, keep_memory, share_the_processor  # noqa: E402

share_the_processor()
forget_old_shapes()
keep_memory()


def main() -> None:
    from tests.support.training_events import prepared_run

    folder = Path(sys.argv[1])
    # A run that another round finished would have nothing left to do.
    shutil.rmtree(folder / "tailor", ignore_errors=True)
    shutil.copytree(folder / "run", folder / "tailor")
    run, _ = prepared_run(folder / "tailor")
    clock = Clock()
    run.train()
    clock.stop()
    state = run.state
    tell(state.tokens_seen, clock, state.last_epoch_loss, state.peak_memory_bytes / 1e6)


if __name__ == "__main__":
    main()
