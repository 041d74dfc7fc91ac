"""From the button to the first finished step, with the built-in starter model.

    python benchmarks/first_step.py --rounds 5

A real Tailor (`tailor up`, SQLite, its own queue folder) in a folder of its own. A run is queued as
the page does it; the clock starts when its row is committed and stops when the first step's row
is: everything between is what a person waits for. "Warm" is a worker that has been idle for a
while, "cold" one that keeps no spare training process. They take turns, so that other work on the
machine meets both. The first round is not counted: it reads the libraries from the disk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

LONGEST_WAIT_SECONDS = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=120)
    parser.add_argument("--one", choices=["cold", "warm"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.folder, arguments.examples)))
        return
    seconds: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    in_own_process("cold", arguments.examples)
    for _ in range(arguments.rounds):
        for kind, found in seconds.items():
            found.append(in_own_process(kind, arguments.examples))
            print(json.dumps({"worker": kind, **found[-1]}), flush=True)
    for kind, found in seconds.items():
        for what in found[0]:
            values = [entry[what] for entry in found]
            print(
                f"{kind:6}{what:28} median {statistics.median(values):7.2f}"
                f"   from {min(values):7.2f} to {max(values):7.2f}"
            )


def in_own_process(kind: str, examples: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            [
                *(sys.executable, __file__, "--one", kind, "--folder", folder),
                *("--examples", str(examples)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")},
                "TAILOR_DATA_DIR": folder,
                "TAILOR_SPARE_TRAINING_PROCESS": str(kind == "warm").lower(),
            },
        )
    if output.returncode != 0:
        raise SystemExit(output.stderr)
    result: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return result


def measure(folder: Path, examples: int) -> dict[str, float]:
    from app.database.engine import get_engine
    from app.settings import get_settings
    from app.storage.folders import get_storage
    from tests.support.running_tailor import RunningTailor

    variable = "TAILOR_SPARE_TRAINING_PROCESS"
    tailor = RunningTailor(folder, {variable: os.environ[variable]}).start()
    try:
        engine, storage = get_engine(), get_storage()
        is_warm = get_settings().spare_training_process
        spare = wait_for_spare(folder) if is_warm else {}
        first = seconds_to_first_step(engine, storage, examples)
        return {"seconds to the first step": first, **spare}
    finally:
        tailor.stop()


def wait_for_spare(folder: Path) -> dict[str, float]:
    """Wait until the spare has imported everything and is idle; say what it holds."""
    import psutil

    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline", "environ"]):
            if "--spare" not in (process.info["cmdline"] or []):
                continue
            if not _belongs_to(process, folder):
                continue
            if _is_idle(process):
                memory = process.memory_full_info()
                return {"spare's own megabytes": memory.uss / 1e6}
        time.sleep(0.2)
    raise SystemExit("no spare training process came")


def _belongs_to(process: Any, folder: Path) -> bool:  # noqa: ANN401 (psutil ships no types)
    marker = f"TAILOR_DATA_DIR={folder}".encode()
    for ancestor in process.parents():
        try:
            if marker in Path(f"/proc/{ancestor.pid}/environ").read_bytes():
                return True
        except OSError:
            continue
    return False


def _is_idle(process: Any) -> bool:  # noqa: ANN401 (psutil ships no types)
    before = sum(process.cpu_times()[:2])
    time.sleep(2.0)
    return before > 1.0 and sum(process.cpu_times()[:2]) - before < 0.02


def seconds_to_first_step(engine: Any, storage: Any, examples: int) -> float:  # noqa: ANN401
    from app.base_models.tables import BaseModel
    from app.database.session import transaction
    from app.projects.tables import Project
    from app.runs import service
    from app.runs.recipe import Preset, RecipeChoices
    from tests.support.runs import project_with_examples

    with transaction(engine) as session:
        project_id = project_with_examples(session, storage, examples).id
    with transaction(engine) as session:
        project, model = session.get(Project, project_id), session.get(BaseModel, "starter")
        if project is None or model is None:
            raise SystemExit("the project or the starter is gone")
        run_id = service.start_run(
            session, storage, project, model, Preset.QUICK, RecipeChoices(), None
        ).id
    started = time.monotonic()
    while _step(engine, run_id) < 1:
        if time.monotonic() - started > LONGEST_WAIT_SECONDS:
            raise SystemExit("the first step did not come")
        time.sleep(0.02)
    return time.monotonic() - started


def _step(engine: Any, run_id: str) -> int:  # noqa: ANN401
    from app.database.session import transaction
    from app.runs.tables import Run

    with transaction(engine, read_only=True) as session:
        run = session.get(Run, run_id)
        return run.step if run is not None else 0


if __name__ == "__main__":
    main()
