"""Tailor's own loop: `python ours.py FOLDER default`. Prints one JSON line."""

import json
import shutil
import sys
import time
from pathlib import Path

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
    started, processor = time.perf_counter(), time.process_time()
    run.train()
    print(
        json.dumps(
            {
                "tokens": run.state.tokens_seen,
                "seconds": time.perf_counter() - started,
                "processor_seconds": time.process_time() - processor,
                "loss": run.state.last_epoch_loss,
                "peak_megabytes": run.state.peak_memory_bytes / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
