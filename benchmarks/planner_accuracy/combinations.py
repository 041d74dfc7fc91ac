"""What is trained to see whether the planner was right: shapes, lengths, methods."""

from dataclasses import dataclass, field
from typing import Any, Final

from app.runs.methods import Method
from app.runs.objectives import Objective


@dataclass(frozen=True)
class Combination:
    """One training.

    Attributes:
        length: tokens of its longest row; the shortest has two thirds of them.
        rows: examples of an update.
        at_once: most tokens that go through the model at once.
        is_held_out: whether nobody looked at it while the planner was mended.
    """

    shape: str
    length: int
    method: Method = Method.LORA
    rows: int = 8
    updates: int = 3
    at_once: int = 4096
    settings: dict[str, Any] = field(default_factory=dict)
    objective: Objective = Objective.ANSWERS
    is_held_out: bool = False

    @property
    def name(self) -> str:
        settings = "".join(f" {name}={value}" for name, value in self.settings.items())
        objective = "" if self.objective is Objective.ANSWERS else f" {self.objective}"
        return (
            f"{self.shape} {self.length} {self.method}{settings}{objective} "
            f"{self.rows}x{self.updates}/{self.at_once}"
        )


COMBINATIONS: Final = (
    Combination("30m", 128, Method.LORA, updates=6),
    Combination("30m", 512, Method.LORA),
    Combination("30m", 1024, Method.LORA, rows=4),
    Combination("135m", 128, Method.LORA),
    Combination("135m", 512, Method.LORA, updates=2),
    Combination("30m", 512, Method.DORA, updates=2),
    Combination("30m", 512, Method.LOHA, updates=2),
    Combination("30m", 512, Method.OFT, updates=2),
    Combination("30m", 512, Method.PREFIX_TUNING),
    Combination("30m", 512, Method.FULL),
    Combination("135m", 128, Method.FULL),
    Combination("135m", 512, Method.IA3, rows=4, updates=2),
    Combination("30m", 512, Method.LORA, rows=4, objective=Objective.DPO, updates=2),
    Combination("30m", 256, Method.LORA, rows=16, at_once=1024, is_held_out=True),
    Combination("135m", 1024, Method.LORA, rows=2, updates=2, at_once=2048, is_held_out=True),
    Combination("135m", 256, Method.DORA, rows=4, updates=2, is_held_out=True),
    Combination("135m", 128, Method.LOKR, rows=4, updates=2, is_held_out=True),
    Combination("30m", 1024, Method.OFT, rows=2, updates=2, is_held_out=True),
    Combination("135m", 128, Method.VERA, rows=4, updates=2, is_held_out=True),
    Combination("30m", 128, Method.BOFT, updates=2, is_held_out=True),
    Combination("135m", 256, Method.PROMPT_TUNING, rows=4, updates=2, is_held_out=True),
)
