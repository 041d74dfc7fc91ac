"""How far down a run has gone because memory ran short, told from one attempt to the next.

The recipe is frozen and a checkpoint may be older than the last step down, so this is written in
the run's folder: by the training process whenever it goes down, and by its supervisor when the
kernel ended it without a word. It only ever says less, so a late writer does no harm.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from app.storage.durable import write_atomically

_FILE: Final = "memory.json"


@dataclass(frozen=True)
class MemoryNotes:
    """What is known of a run's way down the ladder (see worker/training/memory.py).

    Attributes:
        rung: where the next attempt begins; 0 is all that the recipe allows.
        lowest: the last rung there is; None until a training process has counted them.
        kills: how often an attempt ended for want of memory, whoever ended it.
        four_bits_left: whether, below the last rung, the base model may still be held in 4 bits.
        in_four_bits: whether the next attempt does so, though the recipe says more.
    """

    rung: int = 0
    lowest: int | None = None
    kills: int = 0
    four_bits_left: bool = False
    in_four_bits: bool = False

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        """Return the notes of a run; none, or unreadable ones, are a beginning."""
        try:
            content = json.loads((run_folder / _FILE).read_text(encoding="utf-8"))
            lowest = content["lowest"]
            return cls(
                int(content["rung"]),
                None if lowest is None else int(lowest),
                int(content["kills"]),
                bool(content.get("four_bits_left", False)),
                bool(content.get("in_four_bits", False)),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, run_folder: Path) -> None:
        write_atomically(run_folder / _FILE, json.dumps(asdict(self)).encode())

    def allowing_four_bits(self, *, is_allowed: bool) -> Self:
        """Return the notes for a device that may, or may not, hold the base model in 4 bits."""
        in_four_bits = self.in_four_bits and is_allowed
        left = is_allowed and not in_four_bits
        return replace(self, four_bits_left=left, in_four_bits=in_four_bits)

    def taking_four_bits(self) -> Self:
        return replace(self, four_bits_left=False, in_four_bits=True)

    def after_shortage(self) -> Self | None:
        """Return where the next attempt begins; None if there is nothing below.

        Each attempt loads the model anew, so a second shortage in a row goes down twice as far.
        Before the rungs are counted the model is loaded, which only fewer bits make smaller.
        """
        if self.lowest is None or self.rung >= self.lowest:
            return self.taking_four_bits() if self.four_bits_left else None
        rung = min(self.lowest, self.rung + 2**self.kills)
        return replace(self, rung=rung, kills=self.kills + 1)
