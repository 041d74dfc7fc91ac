"""What the planner foretells beside what then happens.

    python -m benchmarks.planner_accuracy --results /tmp/planner   # goes on where it stopped
    python -m benchmarks.planner_accuracy --results /tmp/planner --minutes 4
    python -m benchmarks.planner_accuracy --results /tmp/planner --table-only

First the trial of worker/device_trial measures this machine, in a process of its own. Then, for
each combination of shape, length and method, a base model with random weights is really trained for
a few updates by Tailor's loop, each in a process of its own. Memory is the peak that the loop
reports of its own process (the resident set's high-water mark, libraries included). Time is
processor time of the main thread during the updates, which is the time on the clock where nothing
else runs; the clock's own stands beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from app.runs.device_constants import DeviceConstants
from benchmarks.planner_accuracy.combinations import COMBINATIONS
from benchmarks.planner_accuracy.table import markdown

_MEASURING: Final = "benchmarks.planner_accuracy.measuring"
_TRIAL_FILE: Final = "trial.json"
_RESULTS_FILE: Final = "results.jsonl"


def main() -> None:
    arguments = _arguments()
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    if not arguments.table_only:
        _measure(results, time.monotonic() + 60 * arguments.minutes, arguments.only)
    constants = DeviceConstants.model_validate_json((results / _TRIAL_FILE).read_text())
    print(markdown(constants, _read(results)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing after so many")
    parser.add_argument("--only", default="", help="combinations whose name contains this")
    parser.add_argument("--table-only", action="store_true")
    return parser.parse_args()


def _measure(results: Path, until: float, only: str) -> None:
    if not (results / _TRIAL_FILE).exists():
        found = _in_own_process(results)
        (results / _TRIAL_FILE).write_text(json.dumps(found, indent=2), encoding="utf-8")
    done = {found["name"] for found in _read(results)}
    if not (results / "30m").exists():
        make = "from benchmarks.planner_accuracy.measuring import make_bases; "
        make += f"from pathlib import Path; make_bases(Path({str(results)!r}))"
        subprocess.run([sys.executable, "-c", make], check=True)
    for combination in COMBINATIONS:
        if time.monotonic() > until:
            return
        if combination.name in done or only not in combination.name:
            continue
        with tempfile.TemporaryDirectory(dir=results) as name:
            for shared in (combination.shape, "number-formats.json"):
                (Path(name) / shared).symlink_to((results / shared).resolve())
            found = _in_own_process(Path(name), combination.name)
        print(found, file=sys.stderr)
        with (results / _RESULTS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


def _in_own_process(*arguments: str | Path) -> dict[str, Any]:
    output = subprocess.run(
        [sys.executable, "-m", _MEASURING, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if output.returncode != 0:
        raise SystemExit(output.stderr)
    result: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return result


def _read(results: Path) -> list[dict[str, Any]]:
    file = results / _RESULTS_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
