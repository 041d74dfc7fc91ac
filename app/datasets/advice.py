"""Advice from the data itself, in plain sentences."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from sqlalchemy.orm import Session

from app.datasets.repository import ExampleRepository
from app.datasets.split import SMALLEST_TO_HOLD_OUT, held_out_target

# What 2,048 tokens are, as many as a training reads at once of an example.
USUAL_CHARACTERS: Final = 8_192
ENOUGH: Final = 50
_SAMPLED: Final = 5_000
_MAX_KINDS: Final = 200
_LONGEST_KIND: Final = 80


@dataclass(frozen=True)
class Advice:
    kind: Literal["note", "attention", "done"]
    what: str
    text: str


@dataclass(frozen=True)
class Facts:
    count: int
    answers: int
    """How many different answers there are."""
    sortable: int
    """How many have an answer that may be the name of a kind: no texts, pairs or thumbs."""
    kinds: int
    """How many different answers these have."""
    longest_kind: int
    """How long the longest of these answers is."""
    long: int
    """How many are longer, all their texts together, than what is read at once."""
    with_html: int

    def scaled(self, count: int) -> "Facts":
        """The same facts about so many examples as if all were like those looked at."""
        factor = count / max(1, self.count)
        return replace(
            self,
            count=count,
            sortable=round(self.sortable * factor),
            long=round(self.long * factor),
            with_html=round(self.with_html * factor),
        )


def advise(
    session: Session, project_id: str, characters_at_once: int = USUAL_CHARACTERS
) -> list[Advice]:
    """Advise from all examples, or from some thousands evenly spread where there are more.

    Args:
        session: the database.
        project_id: whose examples.
        characters_at_once: about how long an example the chosen base model can learn from.
    """
    examples = ExampleRepository(session)
    count = examples.count(project_id)
    every = max(1, count // _SAMPLED)
    facts = Facts(**examples.facts(project_id, characters_at_once, every))
    return list(advice_from(facts if every == 1 else facts.scaled(count), characters_at_once))


def advice_from(facts: Facts, characters_at_once: int) -> Iterator[Advice]:
    if facts.count == 0:
        return
    yield _amount(facts.count)
    if facts.count > 1 and facts.answers == 1:
        yield Advice(
            "attention",
            "All answers are the same.",
            "A model trained on them would say this one sentence to everything. Check that the "
            "right column was chosen as the answer.",
        )
    elif _is_sorting(facts):
        yield Advice(
            "note",
            f"This looks like sorting into {facts.kinds:,} kinds.",
            "The answers are short and come again and again. The model will learn to name the "
            "kind, and nothing else.",
        )
    if facts.long:
        yield Advice(
            "attention",
            f"{_examples(facts.long)} longer than {characters_at_once:,} characters.",
            "That is more than the model reads at once. Of what stands before the answer only the "
            "end is read; an example whose answer alone is too long is left out. The training says "
            "how many it concerned. Shorter ones teach better.",
        )
    if facts.with_html >= 0.05 * facts.count and facts.with_html:
        yield Advice(
            "note",
            f"HTML marks stand in {_answers(facts.with_html)}.",
            "The model will learn to write them too. If that is not wanted, delete the import and "
            "upload the file again with “Remove HTML” ticked.",
        )


def _amount(count: int) -> Advice:
    if count < 5:
        words = "There is only 1 example." if count == 1 else f"There are only {count} examples."
        return Advice(
            "attention",
            words,
            "Training works, but it can do little more than repeat them. Write at least "
            f"{SMALLEST_TO_HOLD_OUT}; from about {ENOUGH} on, a manner of writing comes through.",
        )
    if count < SMALLEST_TO_HOLD_OUT:
        return Advice(
            "attention",
            f"{count} examples are too few to measure with.",
            "Training works, but none are held out to check it with: that begins at "
            f"{SMALLEST_TO_HOLD_OUT} examples.",
        )
    held_out = held_out_target(count)
    checked = (
        f"About {held_out} of them are held out: a training does not learn from them, so that they "
        "show how good the model is on what it has not seen."
    )
    if count < ENOUGH:
        return Advice("note", f"{count} examples are a start; more would help.", checked)
    return Advice("done", f"{count:,} examples are enough to learn from.", checked)


def _is_sorting(facts: Facts) -> bool:
    return (
        facts.sortable >= max(SMALLEST_TO_HOLD_OUT, facts.count / 2)
        and facts.longest_kind <= _LONGEST_KIND
        and facts.kinds <= min(_MAX_KINDS, facts.sortable / 3)
    )


def _answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{count:,} answers"


def _examples(count: int) -> str:
    return "1 example is" if count == 1 else f"{count:,} examples are"
