"""What was foretold beside what happened, as a table for docs/benchmarks.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.memory import peak_memory
from app.runs.costs.seconds import training_seconds
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants
from benchmarks.planner_accuracy.combinations import COMBINATIONS, Combination
from benchmarks.shapes import SHAPES

_MEGABYTE: Final = 1e6
_HEAD: Final = (
    "| shape | longest row | method | examples an update | MB foretold | MB | off "
    "| s foretold | s | off | on the clock |\n"
    "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass(frozen=True)
class Comparison:
    """Foretold and measured, of one combination."""

    combination: Combination
    memory_said: float
    memory: float
    seconds_said: float
    seconds: float
    clock_seconds: float

    @property
    def memory_off(self) -> float:
        return self.memory_said / self.memory - 1

    @property
    def seconds_off(self) -> float:
        return self.seconds_said / self.seconds - 1


def markdown(constants: DeviceConstants, results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, and a line with the worst of it."""
    known = {one.name: one for one in COMBINATIONS}
    compared = [
        _compare(known[found["name"]], found, constants)
        for found in results
        if found["name"] in known
    ]
    lines = [_HEAD, *map(_row, compared)]
    for title, chosen in (
        ("Seen while the planner was mended", [c for c in compared if not _is_new(c)]),
        ("Held out", [c for c in compared if _is_new(c)]),
    ):
        if chosen:
            memory = max(abs(one.memory_off) for one in chosen)
            seconds = max(abs(one.seconds_off) for one in chosen)
            lines.append(
                f"\n{title}: {len(chosen)}; at worst memory is off by {memory:.0%}, "
                f"time by {seconds:.0%}."
            )
    return "\n".join(lines)


def _is_new(compared: Comparison) -> bool:
    return compared.combination.is_held_out


def _row(one: Comparison) -> str:
    combination = one.combination
    name = str(combination.method)
    if combination.objective != "answers":
        name += f", {combination.objective}"
    name += " (held out)" if combination.is_held_out else ""
    return (
        f"| {combination.shape} | {combination.length} | {name} | {combination.rows} "
        f"| {one.memory_said / _MEGABYTE:,.0f} | {one.memory / _MEGABYTE:,.0f} "
        f"| {one.memory_off:+.0%} | {one.seconds_said:.2f} | {one.seconds:.2f} "
        f"| {one.seconds_off:+.0%} | {one.clock_seconds:.2f} |"
    )


def _compare(
    combination: Combination, found: Mapping[str, Any], constants: DeviceConstants
) -> Comparison:
    shape = TransformerShape.from_config({**SHAPES[combination.shape], "tie_word_embeddings": True})
    if shape is None:
        raise SystemExit("The base model's measures cannot be read.")
    rows = 2 if combination.objective in {"dpo", "orpo", "kto"} else 1
    work = Work(
        row_tokens=found["average"] / rows,
        longest_row=round(found["longest"] / rows),
        examples=found["rows"],
        examples_per_update=combination.rows,
        tokens_per_micro_batch=combination.at_once,
        method=combination.method,
        settings=found["settings"],
        objective=combination.objective,
        answer_share=found["answer_share"],
    )
    return Comparison(
        combination,
        peak_memory(shape, work, constants).total,
        found["memory_bytes"],
        training_seconds(shape, work, constants) - constants.start_seconds,
        found["seconds"],
        found["wall_seconds"],
    )
