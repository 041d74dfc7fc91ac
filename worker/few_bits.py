"""In how few bits a run's base model is held, and which processes load the library for it.

Nothing heavy is imported here: a supervisor asks as well as a training process that has only begun.
"""

import logging
import sys
from pathlib import Path
from typing import Final

from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from app.workers.device import OneDevice
from worker.memory_notes import MemoryNotes

LIBRARY: Final = "bitsandbytes"


def bits_of(recipe: Recipe, run_folder: Path) -> Quantization:
    """Return the form in which an attempt that begins now holds the base model."""
    if MemoryNotes.read(run_folder).in_four_bits:
        return Quantization.FOUR_BIT
    return recipe.quantization


def note_what_is_allowed(recipe: Recipe, run_folder: Path, device: OneDevice) -> None:
    """Leave word whether the base model may be held in 4 bits on a device if nothing else helps."""
    can_be = Quantization.FOUR_BIT in device.few_bits
    notes = MemoryNotes.read(run_folder)
    said = notes.allowing_four_bits(is_allowed=can_be and recipe.may_fall_to_four_bits)
    if said != notes:
        said.write(run_folder)


def choose_library(bits: Quantization) -> None:
    """Leave out bitsandbytes where a process has no use for it, and keep it quiet where it has.

    To be called before transformers and peft are imported, which import it where they find it. That
    takes a second and 50 MB, and where it is at odds with a machine's drivers, trainings that have
    no use for it would suffer. It warns of each product in 8 bits, and of kernels from a hub.
    """
    if bits is Quantization.NONE:
        sys.modules.setdefault(LIBRARY, None)  # type: ignore[arg-type]
    else:
        logging.getLogger(LIBRARY).setLevel(logging.ERROR)
