"""What came of a run, whatever it learned, in sentences. Pure: numbers in, words out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.runs import sentences
from app.runs.objectives import OBJECTIVES, Objective
from app.sizes import percent

# A change of the share of right ones by less than this is chance with so few held-out examples.
_MUCH: Final = 0.02
_MOST_CONFUSED: Final = 10


@dataclass(frozen=True)
class Confused:
    """How often texts of one kind were taken for another."""

    kind: str
    taken_for: str
    count: int
    of: int
    """How many held-out texts of the kind there are."""


@dataclass(frozen=True)
class Confusion:
    """Of the held-out texts: what each was, and what it was taken for.

    Attributes:
        kinds: those that occur.
        rows: for each kind its count, and how often it was taken for each of the kinds.
        most_confused: the worst mistakes first.
    """

    kinds: list[str]
    rows: list[tuple[str, int, list[int]]]
    most_confused: list[Confused]


def outcome_sentence(objective: Objective, result: Mapping[str, Any]) -> str:
    """Say what came of a run, from what the held-out examples said before and after."""
    spec, after = OBJECTIVES[objective], result.get("right_after")
    if after is None or not (spec.sorts or spec.prefers):
        losses = result.get("loss_before"), result.get("loss_after")
        return sentences.result_sentence(*losses, spec.learned_words)
    before = result.get("right_before")
    if spec.sorts:
        text = f"It sorts {percent(after)} of the texts that it has never seen into the right kind."
        if before is not None:
            text += f" Always naming the most frequent kind would be right for {percent(before)}."
        return text
    if before is None:
        return (
            f"Of the held-out answers, {percent(after)} moved the way of their thumb: liked ones "
            "are likelier now, disliked ones less likely."
        )
    return (
        f"The better of two held-out answers is now the likelier one in {percent(after)} of the "
        f"pairs; before, it was in {percent(before)}."
    )


def measured_before(objective: Objective) -> str:
    """Say of what the share of right ones before the training is a share."""
    if OBJECTIVES[objective].sorts:
        return "Of the held-out texts, by always naming the most frequent kind."
    return "Of the held-out pairs: the base model finds the better answer the likelier one."


def outcome_verdict(result: Mapping[str, Any]) -> str:
    """Return better, same, worse or unknown."""
    before, after = result.get("right_before"), result.get("right_after")
    if before is None or after is None:
        return sentences.verdict(result.get("loss_before"), result.get("loss_after"))
    if abs(after - before) < _MUCH:
        return "same"
    return "better" if after > before else "worse"


def short_outcome(result: Mapping[str, Any]) -> str:
    """Say in a few words, for a table, what came of a run; empty if nothing was measured."""
    before, after = result.get("right_before"), result.get("right_after")
    if after is None:
        return sentences.short_result(result.get("loss_before"), result.get("loss_after"))
    was = f", {percent(before)} before" if before is not None else ""
    return f"{percent(after)} of the held-out ones right{was}"


def confusion_of(result: Mapping[str, Any]) -> Confusion | None:
    """Return what was taken for what; None for a run that does not sort."""
    names, counts = result.get("kinds") or [], result.get("confusion") or []
    if not names or not counts:
        return None
    found = {(kind, told): count for kind, told, count in counts}
    per_kind: Counter[int] = Counter()
    for (kind, _), count in found.items():
        per_kind[kind] += count
    used = sorted({number for pair in found for number in pair})
    rows = [
        (names[kind], per_kind[kind], [found.get((kind, told), 0) for told in used])
        for kind in used
    ]
    mistakes = sorted((-count, pair) for pair, count in found.items() if pair[0] != pair[1])
    most = [
        Confused(names[kind], names[told], -count, per_kind[kind])
        for count, (kind, told) in mistakes[:_MOST_CONFUSED]
    ]
    return Confusion([names[number] for number in used], rows, most)
