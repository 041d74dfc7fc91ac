"""What a training learns from the examples: one table that drives form, validation and documents.

People choose among four goals; a goal with several objectives has a usual one, and experts may
choose another. Which is proposed follows from what the examples are, see `proposals.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.datasets.shapes import Purpose
from app.runs.setting import Kind, Setting, SettingValue, fill_settings

ANSWER_WEIGHT: Final = "answer_weight"
"""The setting that says how much liked answers are learned besides being compared."""


class Objective(StrEnum):
    ANSWERS = "answers"
    TEXTS = "texts"
    DPO = "dpo"
    KTO = "kto"
    ORPO = "orpo"
    KINDS = "kinds"


class Goal(StrEnum):
    ANSWER = "answer"
    STYLE = "style"
    PREFER = "prefer"
    SORT = "sort"


@dataclass(frozen=True)
class GoalWords:
    """A goal, for someone who chooses."""

    title: str
    sentence: str


GOALS: Final[dict[Goal, GoalWords]] = {
    Goal.ANSWER: GoalWords(
        "Learn to answer", "The model learns to give your answers to questions like yours."
    ),
    Goal.STYLE: GoalWords(
        "Learn a style from texts", "The model learns how your texts are written and goes on alike."
    ),
    Goal.PREFER: GoalWords(
        "Learn what people prefer",
        "The model learns to say what people liked rather than what they did not.",
    ),
    Goal.SORT: GoalWords(
        "Sort into kinds", "The model learns to name the kind of a text, and how sure it is."
    ),
}


@dataclass(frozen=True)
class ObjectiveSpec:
    """What there is to know of an objective.

    Attributes:
        title: its name in the field.
        sentence: what it does, in one plain sentence.
        suits: when to choose it.
        goal: the plain choice that it belongs to.
        purpose: which examples serve it, and in which form they are read.
        settings: its own settings, in the order in which they are shown.
        source: the publication it comes from; empty if there is none to name.
        learning_rate_factor: its usual learning rate, in multiples of that for answers.
    """

    title: str
    sentence: str
    suits: str
    goal: Goal
    purpose: Purpose
    settings: tuple[Setting, ...] = ()
    source: str = ""
    learning_rate_factor: float = 1.0

    @property
    def prefers(self) -> bool:
        return self.goal is Goal.PREFER

    @property
    def learned_words(self) -> str:
        """What it learns of the examples, as sentences call it: answers, texts or kinds."""
        return {Goal.STYLE: "texts", Goal.SORT: "kinds"}.get(self.goal, "answers")

    @property
    def weighs_answers(self) -> bool:
        """Whether learning the liked answers is weighed beside a comparison."""
        return any(setting.name == ANSWER_WEIGHT for setting in self.settings)

    @property
    def is_known_by_heart(self) -> bool:
        """Whether the examples themselves are to be known, not what they have in common."""
        return self.goal in {Goal.ANSWER, Goal.SORT}

    @property
    def sorts(self) -> bool:
        return self.goal is Goal.SORT


def _beta(default: float = 0.1) -> Setting:
    return Setting(
        "beta",
        "Caution (beta)",
        "How closely the model keeps to what it said before; smaller values let it change more.",
        Kind.DECIMAL,
        default=default,
        lowest=0.001,
        highest=10.0,
    )


def _answer_weight(label: str, meaning: str) -> Setting:
    return Setting(
        ANSWER_WEIGHT,
        label,
        meaning,
        Kind.DECIMAL,
        default=1.0,
        lowest=0.0,
        highest=100.0,
    )


def _smoothing(meaning: str) -> Setting:
    return Setting(
        "label_smoothing",
        "Doubt (label smoothing)",
        meaning,
        Kind.DECIMAL,
        default=0.0,
        lowest=0.0,
        highest=0.49,
    )


OBJECTIVES: Final[dict[Objective, ObjectiveSpec]] = {
    Objective.ANSWERS: ObjectiveSpec(
        title="Answers (supervised fine-tuning)",
        sentence="The answers are learned, word by word; questions are only read.",
        suits="The usual choice for questions with their answers.",
        goal=Goal.ANSWER,
        purpose=Purpose.ANSWERS,
    ),
    Objective.TEXTS: ObjectiveSpec(
        title="Texts (language modelling)",
        sentence="Whole texts are learned, word by word.",
        suits="For a style, or a body of documents, without questions.",
        goal=Goal.STYLE,
        purpose=Purpose.TEXTS,
    ),
    Objective.DPO: ObjectiveSpec(
        title="DPO",
        sentence="Of two answers the better one becomes likelier than the other, measured against "
        "what the base model would say.",
        suits="The usual choice for pairs of a better and a worse answer.",
        goal=Goal.PREFER,
        purpose=Purpose.PAIRS,
        settings=(
            _beta(),
            _answer_weight(
                "Weight of learning the better answer",
                "How much learning the better answer word by word counts beside the comparison; 0 "
                "compares only.",
            ),
            _smoothing("The share of pairs of which the wrong answer may have been chosen."),
        ),
        source="Rafailov et al., Direct Preference Optimization, 2023 (arXiv 2305.18290)",
        learning_rate_factor=0.5,
    ),
    Objective.KTO: ObjectiveSpec(
        title="KTO",
        sentence="Each answer has a thumb of its own: what was liked becomes likelier, what was "
        "not becomes less likely.",
        suits="The choice for thumbs; pairs are read as a thumb up and a thumb down.",
        goal=Goal.PREFER,
        purpose=Purpose.THUMBS,
        settings=(
            _beta(),
            _answer_weight(
                "Weight of learning liked answers",
                "How much learning the liked answers word by word counts beside the thumbs; 0 "
                "judges only.",
            ),
            Setting(
                "balance",
                "Even out thumbs up and down",
                "Gives the rarer of the two more weight, so that both count the same together.",
                Kind.YES_NO,
                default=True,
            ),
            Setting(
                "desirable_weight",
                "Weight of a thumb up",
                "How much a liked answer counts.",
                Kind.DECIMAL,
                default=1.0,
                lowest=0.01,
                highest=100.0,
            ),
            Setting(
                "undesirable_weight",
                "Weight of a thumb down",
                "How much a disliked answer counts.",
                Kind.DECIMAL,
                default=1.0,
                lowest=0.01,
                highest=100.0,
            ),
        ),
        source="Ethayarajh et al., KTO, 2024 (arXiv 2402.01306)",
        learning_rate_factor=0.5,
    ),
    Objective.ORPO: ObjectiveSpec(
        title="ORPO",
        sentence="The better answer is learned word by word, and at the same time made likelier "
        "than the other.",
        suits="For pairs whose better answers are also to be learned; it does not hold on to what "
        "the base model said.",
        goal=Goal.PREFER,
        purpose=Purpose.PAIRS,
        settings=(
            Setting(
                "odds_weight",
                "Weight of the preference (lambda)",
                "How much the comparison counts beside learning the better answer.",
                Kind.DECIMAL,
                default=0.1,
                lowest=0.001,
                highest=10.0,
            ),
        ),
        source="Hong et al., ORPO, 2024 (arXiv 2403.07691)",
        learning_rate_factor=0.5,
    ),
    Objective.KINDS: ObjectiveSpec(
        title="Classification (label head)",
        sentence="A small head on the model gives each kind a score; head and adapter learn "
        "together.",
        suits="For texts that each belong to one of a few kinds.",
        goal=Goal.SORT,
        purpose=Purpose.KINDS,
        settings=(_smoothing("The share of texts that may stand under the wrong kind."),),
        # Texts give one sign each and answers many, so their gradients swing more.
        learning_rate_factor=0.5,
    ),
}


def objective_in(recipe: Mapping[str, Any]) -> Objective:
    """Return what a recipe's JSON learns; earlier Tailors knew answers alone."""
    name = recipe.get("objective", Objective.ANSWERS)
    return Objective(name) if name in list(Objective) else Objective.ANSWERS


def objectives_of(goal: Goal) -> list[Objective]:
    """Return a goal's objectives, the usual one first."""
    return [objective for objective, spec in OBJECTIVES.items() if spec.goal is goal]


def checked_objective_settings(
    objective: Objective, given: Mapping[str, Any]
) -> dict[str, SettingValue]:
    """Return all of an objective's settings.

    Raises:
        ValueError: with a sentence for each of the given ones that it does not have or allow.
    """
    values, problems = fill_settings(OBJECTIVES[objective].settings, given)
    if problems:
        raise ValueError(" ".join(problem.message for problem in problems))
    return values
