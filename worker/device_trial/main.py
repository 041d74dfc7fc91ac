"""Measure what the planner calculates with: `… main FILE`.

A process of its own that takes some seconds: it lets the loop's own parts (adapter, loss, backward
pass) go through random models of a few shapes, and writes an app.runs.device_constants
.DeviceConstants into FILE, under the planner's key. Before that it has another process find out in
how few bits a base model can be held here (few_bits.py). A run that begins ends it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from app.runs.device_constants import MEASURED_KEY, DeviceConstants
from app.runs.methods import Method, Quantization
from app.storage.durable import write_atomically
from app.workers.device import FEW_BITS_KEY
from worker.device_trial import few_bits
from worker.few_bits import choose_library

# Besides the imports: reading the tokenizer, the weights and the examples.
_LOADING_SECONDS: Final = 3.0


def measure(weight_bytes: int) -> DeviceConstants:
    """Measure all of it, in a process that has done nothing else."""
    started = time.monotonic()
    import torch

    from worker.device_trial.process_size import warmed_up_bytes
    from worker.device_trial.speed import (
        fresh_byte_seconds,
        pass_seconds,
        wide_operations,
        written,
    )
    from worker.training.precision import Numbers, choose_device, libraries

    Numbers(choose_device(), torch.float32, torch.get_num_threads(), libraries()).apply()
    process = warmed_up_bytes(weight_bytes)
    imports = time.monotonic() - started
    return DeviceConstants.of(None).model_copy(
        update={
            "weight_bytes": weight_bytes,
            "process_bytes": process,
            "threads": torch.get_num_threads(),
            "passes": pass_seconds(weight_bytes, Method.LORA),
            "plain_passes": pass_seconds(weight_bytes, Method.PROMPT_TUNING),
            "wide_operations": wide_operations(),
            "written": written(),
            "fresh_byte_seconds": fresh_byte_seconds(),
            "start_seconds": imports + _LOADING_SECONDS,
            "libraries": libraries(),
        }
    )


def main() -> None:
    from worker.training.process import (
        forget_old_shapes,
        keep_memory,
        share_the_processor,
        stay_offline,
    )

    file = Path(sys.argv[1])
    stay_offline()
    share_the_processor()
    forget_old_shapes()
    keep_memory()
    note_few_bits(file)
    if _trains_on_a_card():
        # The products below run on the processor; the planner's guesses for cards are nearer.
        return
    choose_library(Quantization.NONE)
    constants = measure(_weight_bytes(file.parent))
    _note(file, MEASURED_KEY, constants.model_dump(mode="json"))


def note_few_bits(file: Path) -> None:
    """Write down in how few bits a base model can be held here, if that was found out."""
    tried = few_bits.facts(file.parent)
    if tried is not None:
        _note(file, FEW_BITS_KEY, tried)


def _note(file: Path, key: str, value: dict[str, Any]) -> None:
    try:
        content = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        content = {}
    write_atomically(file, json.dumps(content | {key: value}, indent=2).encode())


def _trains_on_a_card() -> bool:
    from worker.training.precision import choose_device

    return choose_device().type != "cpu"


def _weight_bytes(runs_folder: Path) -> int:
    """Return the size of a frozen number in the format that runs on this machine use."""
    from worker.training.precision import NOTEBOOK, Numbers

    return int(Numbers.choose(runs_folder / NOTEBOOK).dtype.itemsize)


if __name__ == "__main__":
    main()
