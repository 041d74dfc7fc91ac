"""One run on several devices of this machine, beside the same run on one.

    python benchmarks/several_devices.py --shape 30m --rows 320 --devices 1 2

The cores are shared out among the devices, as a worker does. Tokens are real ones, without filling;
seconds are those of learning, without the evaluations. The loss is that of the last pass.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks" / "training")]


def main() -> None:
    from prepare import SHAPES, prepare

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES], default="30m")
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--divided", action="store_true", help="divide the base model's layers, too"
    )
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data/alpaca_en_demo.json"))
    arguments = parser.parse_args()
    sys.stdout.write("devices  tokens/s    loss  peak MB of one\n")
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), arguments.shape, arguments.rows, arguments.data)
        for _ in range(arguments.rounds):
            for devices in arguments.devices:
                result = _measure(Path(name), devices, divides=arguments.divided and devices > 1)
                seconds = result["seconds"] - result["evaluation_seconds"]
                sys.stdout.write(
                    f"{devices:7}  {result['tokens_seen'] / seconds:8.0f}  "
                    f"{result['train_loss']:6.4f}  {result['peak_memory_bytes'] / 1e6:14.0f}\n"
                )
                sys.stdout.flush()


def _measure(folder: Path, devices: int, *, divides: bool) -> dict[str, Any]:
    run = folder / f"run-{devices}"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / "run", run)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe |= {"devices": devices, "divides_model": divides}
    (run / "recipe.json").write_text(json.dumps(recipe))
    threads = max(1, (os.cpu_count() or 1) // devices)
    output = subprocess.run(
        [
            *(sys.executable, "-m", "worker.training.main", "--run-folder", str(run)),
            *("--fence", "1", *["--further-device=cpu"] * (devices - 1)),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
