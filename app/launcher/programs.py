"""What each of Tailor's processes is started with."""

import sys
from typing import Final

from app.launcher.processes import Program

WEB: Final = Program("web", [sys.executable, "-m", "app.cli", "web"])
INFERENCE: Final = Program("inference", [sys.executable, "-m", "app.cli", "inference"])
WORKER_OF_QUEUE: Final = {
    "runs": Program("worker-runs", [sys.executable, "-m", "app.cli", "worker", "--queue", "runs"]),
    "light": Program(
        "worker-light", [sys.executable, "-m", "app.cli", "worker", "--queue", "light"]
    ),
}
EVERYTHING: Final = (WEB, *WORKER_OF_QUEUE.values(), INFERENCE)
