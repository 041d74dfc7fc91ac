"""Find out whether a base model can be held in few bits on this machine: `… few_bits FOLDER`.

A process of its own, because code made for another processor ends its process without a word. It
holds a small layer in each form, lets it calculate there and back, and compares with the layer as
it was. It writes one JSON object to standard output: for each form why it cannot be had, or "".

Args:
    FOLDER: where runs lie; which number format they use on this machine is written down there.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from app.processes import child_environment
from app.runs.methods import Quantization
from app.settings import REPOSITORY_ROOT
from app.workers.device import FEW_BITS_LIBRARIES
from worker.devices import library_versions
from worker.few_bits import choose_library

FORMS: Final = (Quantization.EIGHT_BIT, Quantization.FOUR_BIT)
VERSION: Final = 2
_MODULE: Final = "worker.device_trial.few_bits"
_MOST_SECONDS: Final = 120.0
_NOT_INSTALLED: Final = "The program for it (bitsandbytes) is not installed on this machine."
_FAULTY: Final = "The program for it (bitsandbytes) does not work on this machine"
# How far a product may be off: bits that are left away show, and so does a wrong order of them.
_TOLERANCE: Final = {Quantization.EIGHT_BIT: 0.05, Quantization.FOUR_BIT: 0.2}


def facts(runs_folder: Path) -> dict[str, Any] | None:
    """Try in another process, and return what a worker announces under FEW_BITS_KEY.

    None if the trial came to nothing: a machine that is busy or short of memory lets it take too
    long, or ends it. That says nothing of what the machine can do once it has the time.
    """
    found = library_versions(FEW_BITS_LIBRARIES)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", _MODULE, str(runs_folder)],
            capture_output=True,
            timeout=_MOST_SECONDS,
            env=child_environment(),
            cwd=REPOSITORY_ROOT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode == -signal.SIGKILL:
        return None
    return {"version": VERSION, "libraries": found, "obstacles": _obstacles(answer)}


def _obstacles(answer: "subprocess.CompletedProcess[bytes]") -> dict[str, str]:
    try:
        answer.check_returncode()
        said = json.loads(answer.stdout)
        return {form.value: str(said[form.value]) for form in FORMS}
    except (subprocess.CalledProcessError, ValueError, KeyError, TypeError) as error:
        return dict.fromkeys((form.value for form in FORMS), f"{_FAULTY}: {_in_short(error)}.")


def _in_short(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with {error.returncode}"
    return type(error).__name__


def obstacle(form: Quantization, runs_folder: Path) -> str:
    """Say why a layer cannot be held in a form here; empty if it can."""
    try:
        import bitsandbytes  # noqa: F401 (whether it is there, and loads)
    except ModuleNotFoundError:
        return _NOT_INSTALLED
    except (ImportError, OSError, RuntimeError) as error:
        return f"{_FAULTY}: {error}."
    try:
        worst = _worst_difference(form, runs_folder)
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, ImportError) as error:
        return f"{_FAULTY}: {str(error).splitlines()[0]}."
    if worst > _TOLERANCE[form]:
        return f"{_FAULTY}: what it calculates is off by {worst:.0%}."
    return ""


def _worst_difference(form: Quantization, runs_folder: Path) -> float:
    """Return by how much a layer's answer or gradient is off, as a part of the whole."""
    import torch

    from worker.training.few_bits import held_layer
    from worker.training.precision import NOTEBOOK, Numbers

    numbers = Numbers.choose(runs_folder / NOTEBOOK)
    torch.manual_seed(0)
    plain = torch.nn.Linear(128, 192, bias=False)
    inputs = torch.randn(16, 128)
    held = held_layer(plain, form, numbers.dtype, numbers.device)
    results = []
    for layer, place in ((plain, inputs), (held, inputs.to(numbers.device, numbers.dtype))):
        given = place.clone().requires_grad_()
        answer = layer(given)
        answer.float().square().sum().backward()
        assert given.grad is not None  # noqa: S101 (it took part)
        results.append([part.detach().float().cpu() for part in (answer, given.grad)])
    pairs = zip(*results, strict=True)
    return max(float((there - here).norm() / here.norm()) for here, there in pairs)


def main() -> None:
    from worker.training.process import share_the_processor, stay_offline

    stay_offline()
    share_the_processor()
    choose_library(Quantization.FOUR_BIT)
    said = {form.value: obstacle(form, Path(sys.argv[1])) for form in FORMS}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
