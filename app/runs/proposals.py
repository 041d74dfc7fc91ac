"""What can be learned from a project's examples, what is proposed, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from app.datasets.repository import ExampleRepository
from app.datasets.shapes import (
    LONGEST_KIND,
    MOST_GUESSED_KINDS,
    MOST_KINDS,
    Purpose,
    Shape,
    shapes_for,
)
from app.datasets.split import SMALLEST_TO_HOLD_OUT, held_out_of_each, held_out_target
from app.runs.errors import NothingForObjectiveError
from app.runs.objectives import GOALS, OBJECTIVES, Goal, GoalWords, Objective, objectives_of

_LEAST_PER_KIND: Final = 3


@dataclass(frozen=True)
class Facts:
    """What a project's examples are.

    Attributes:
        shapes: how many there are of each shape.
        liked: how many have a thumb up.
        kinds: how many examples each kind has; empty if nothing can be sorted by.
    """

    shapes: Mapping[Shape, int]
    liked: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.shapes.values())

    def of(self, *shapes: Shape) -> int:
        return sum(self.shapes.get(shape, 0) for shape in shapes)


@dataclass(frozen=True)
class Offer:
    """An objective that the examples serve.

    Attributes:
        usable: how many examples it learns from or is measured by.
        held_out: about how many of these are held out.
        left_out: how many examples of the project do not serve it.
    """

    objective: Objective
    usable: int
    held_out: int
    left_out: int

    @property
    def left_out_sentence(self) -> str:
        if not self.left_out:
            return ""
        what = {
            Goal.ANSWER: "people did not like their answer",
            Goal.STYLE: "they are no plain texts",
            Goal.PREFER: "nothing says what people thought of the answer",
            Goal.SORT: "they name no kind",
        }[OBJECTIVES[self.objective].goal]
        if self.left_out == 1:
            return f"1 example is left out, because {_singular(what)}."
        return f"{self.left_out:,} examples are left out, because {what}."


@dataclass(frozen=True)
class Proposal:
    """What is proposed and what else could be chosen.

    Attributes:
        objective: the proposed one.
        why: one sentence.
        offers: all that the examples serve.
    """

    objective: Objective
    why: str
    offers: Mapping[Objective, Offer]

    @property
    def goals(self) -> list[tuple[Goal, GoalWords]]:
        """The goals that can be chosen, the proposed one first."""
        proposed = OBJECTIVES[self.objective].goal
        offered = {OBJECTIVES[objective].goal for objective in self.offers}
        return [
            (goal, GOALS[goal])
            for goal in sorted(GOALS, key=lambda goal: goal is not proposed)
            if goal in offered
        ]

    def usual(self, goal: Goal) -> Objective:
        """Return the proposed objective of a goal."""
        if OBJECTIVES[self.objective].goal is goal:
            return self.objective
        return next(objective for objective in objectives_of(goal) if objective in self.offers)


def propose(session: Session, project_id: str) -> Proposal:
    """Look at a project's examples and propose what to learn from them."""
    return proposal_from(_facts(session, project_id))


def proposal_from(facts: Facts) -> Proposal:
    offers = {offer.objective: offer for offer in _offers(facts)}
    half = facts.total / 2
    judged, thumbs = facts.of(Shape.PAIR, Shape.THUMB), facts.of(Shape.THUMB)
    if Objective.KINDS in offers and offers[Objective.KINDS].usable >= half:
        why = f"Your examples are texts, each with one of {len(facts.kinds):,} kinds."
        return Proposal(Objective.KINDS, why, offers)
    if judged >= max(half, 1) and thumbs > judged / 2:
        why = "Your examples are answers that people gave a thumb, up or down."
        return Proposal(Objective.KTO, why, offers)
    if judged >= max(half, 1):
        why = "Your examples are questions with a better and a worse answer."
        return Proposal(Objective.DPO, why, offers)
    if facts.total and facts.of(Shape.PASSAGE) == facts.total:
        return Proposal(Objective.TEXTS, "Your examples are texts without questions.", offers)
    why = "Your examples are questions with their answers."
    if facts.of(Shape.PASSAGE):
        why = "Your examples are questions with their answers, and texts that are learned as well."
    return Proposal(Objective.ANSWERS, why, offers)


def chosen_objective(typed: Mapping[str, str], proposal: Proposal) -> Objective:
    """Return the objective that a form names; what is proposed if it names none."""
    named, goal = typed.get("objective", ""), typed.get("goal", "")
    if goal not in list(Goal) or all(goal != offered for offered, _ in proposal.goals):
        return proposal.objective
    if named in objectives_of(Goal(goal)) and named in proposal.offers:
        return Objective(named)
    return proposal.usual(Goal(goal))


def require_offer(session: Session, project_id: str, objective: Objective) -> None:
    """Raise NothingForObjectiveError if the examples, as they are now, do not serve it."""
    proposal = propose(session, project_id)
    if objective not in proposal.offers and proposal.offers:
        raise NothingForObjectiveError(GOALS[OBJECTIVES[objective].goal].title)


def _facts(session: Session, project_id: str) -> Facts:
    examples = ExampleRepository(session)
    shapes = examples.count_by_shape(project_id)
    liked = examples.count_liked(project_id) if shapes.get(Shape.THUMB) else 0
    sorted_by = shapes_for(Purpose.KINDS, shapes)
    is_guess = Shape.LABEL not in sorted_by
    most = MOST_GUESSED_KINDS if is_guess else MOST_KINDS
    kinds = examples.count_by_answer(project_id, sorted_by, most + 1)
    is_sortable = 2 <= len(kinds) <= most and (not is_guess or _look_like_kinds(kinds))
    return Facts(shapes, liked, kinds if is_sortable else {})


def _look_like_kinds(kinds: Mapping[str, int]) -> bool:
    """Say whether answers that nobody called kinds are short and come again and again."""
    count = sum(kinds.values())
    return (
        count >= SMALLEST_TO_HOLD_OUT
        and count >= _LEAST_PER_KIND * len(kinds)
        and max(map(len, kinds)) <= LONGEST_KIND
    )


def _offers(facts: Facts) -> list[Offer]:
    disliked = facts.of(Shape.THUMB) - facts.liked
    usable = {
        Objective.ANSWERS: facts.total - disliked,
        Objective.TEXTS: facts.of(Shape.PASSAGE),
        Objective.DPO: facts.of(Shape.PAIR),
        Objective.KTO: facts.of(Shape.PAIR, Shape.THUMB),
        Objective.ORPO: facts.of(Shape.PAIR),
        Objective.KINDS: sum(facts.kinds.values()),
    }
    if facts.of(Shape.PASSAGE) == facts.total:
        del usable[Objective.ANSWERS]
    return [
        Offer(objective, count, _held_out(facts, objective, count), facts.total - count)
        for objective, count in usable.items()
        if count
    ]


def _held_out(facts: Facts, objective: Objective, count: int) -> int:
    if objective is Objective.KINDS:
        return sum(held_out_of_each(facts.kinds).values())
    return held_out_target(count)


def _singular(words: str) -> str:
    return words.replace("they are no plain texts", "it is no plain text").replace(
        "they name no kind", "it names no kind"
    )
