"""The recipe: every setting of a run, frozen before anything starts, and what a preset chooses.

The rules are written for people who will never look at them, and shown to those who do. The numbers
and why they are so stand in rules.py.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from app.runs import rules
from app.runs.methods import METHODS, Family, Method, Quantization
from app.runs.objectives import (
    ANSWER_WEIGHT,
    OBJECTIVES,
    Objective,
    checked_objective_settings,
    objective_in,
)
from app.runs.rules import Effort
from app.runs.setting import SettingValue, SettingValues, fill_settings

RECIPE_VERSION: Final = 3
RECIPE_FILE: Final = "recipe.json"
START_FOLDER: Final = "start"
USUAL_EVALUATIONS: Final = 5
MOST_DEVICES: Final = 16


class Preset(StrEnum):
    QUICK = "quick"
    BALANCED = "balanced"
    THOROUGH = "thorough"


class Continuation(BaseModel):
    """The earlier version whose weights a run begins with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    adapter_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of its weights, a copy of which lies in the run's folder under `start`."""
    new_examples: int = Field(default=0, ge=0)
    """Examples to learn from that neither it nor any version before it has learned from."""
    no_longer_held_out: int = Field(default=0, ge=0)
    """Examples that would be held out had it not learned from them."""


# Numbers and yes or no stay what they are: pydantic would make 1 of True otherwise.
MethodSettings = dict[str, StrictBool | StrictInt | float | str]


class Recipe(BaseModel):
    """Method plus settings, written as recipe.json beside everything that a run makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe_version: int = RECIPE_VERSION
    preset: Preset
    method: Method = Method.LORA
    method_settings: MethodSettings = Field(default_factory=dict, validate_default=True)
    """The settings of the method, all of them, as its row in METHODS names them."""
    quantization: Quantization = Quantization.NONE
    """In how few bits the base model's frozen weights are held while it learns."""
    four_bits_if_short: bool = False
    """Whether the run may go on with the base model in 4 bits where nothing else helps against
    too little memory. Earlier recipes lack it."""
    objective: Objective = Objective.ANSWERS
    """What is learned from the examples."""
    objective_settings: MethodSettings = Field(default_factory=dict, validate_default=True)
    """The settings of the objective, all of them, as its row in OBJECTIVES names them."""
    base_model_id: str
    base_model_name: str
    base_model_folder: Path
    """Absolute folder of the base model's files on the machine that trains."""
    base_model_fingerprint: str
    """SHA-256 over the base model's files; a run refuses a model that changed."""
    snapshot_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of the frozen examples; a run refuses others. Recipes before 2026-11-25 lack it."""
    continues_from: Continuation | None = None
    """Without one the run begins with the base model alone."""
    seed: int = Field(default=42, ge=0, le=2**31 - 1)
    """One number that fixes every random choice."""
    learning_rate: float = Field(gt=0.0, le=1.0)
    """Highest step size, per update; reached after the warm-up, falling to a tenth by a cosine."""
    warmup_fraction: float = Field(default=0.05, ge=0.0, le=0.5)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_gradient_norm: float = Field(default=1.0, gt=0.0, le=100.0)
    epochs: int = Field(ge=1, le=100)
    """Whole passes over all training examples."""
    examples_per_update: int = Field(ge=1, le=512)
    devices: int = Field(default=1, ge=1, le=MOST_DEVICES)
    """On how many devices of one machine it may learn at once; with fewer free ones, on those.

    What is learned does not depend on it, but for the rounding of sums.
    """
    divides_model: bool = False
    """Whether the base model's layers are divided over the devices, for it fits on none alone."""
    tokens_per_micro_batch: int = Field(default=4096, ge=64, le=1_048_576)
    """Most tokens, padding included, that go through the model at once."""
    max_tokens_per_example: int = Field(ge=32, le=1_048_576)
    """Of longer examples what comes before the answer is shortened, never the answer."""
    evaluations: int = Field(default=USUAL_EVALUATIONS, ge=1, le=100)
    """How often the held-out questions are asked during the run, the last time at its end."""
    patience: int = Field(default=0, ge=0, le=100)
    """After so many evaluations in a row without a lower loss the run ends; with 0 it never does.

    Early stopping after Prechelt, "Early stopping – but when?" (1998). Earlier recipes lack it.
    """
    seconds_between_checkpoints: float = Field(default=30.0, ge=0.0, le=3600.0)
    """How often the run saves where it is; with 0 after every update, however long that takes."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: Any) -> Any:  # noqa: ANN401 (whatever stands in the file)
        """Bring an earlier recipe up to date, and fill in and check the method's settings."""
        if not isinstance(content, dict):
            return content
        content = _with_objective_settings(up_to_date(content))
        method, given = content.get("method", Method.LORA), content.get("method_settings", {})
        if method not in list(Method) or not isinstance(given, dict):
            # What is wrong with these is said by the fields themselves.
            return content
        return content | {"method_settings": checked_settings(Method(method), given)}

    @model_validator(mode="after")
    def _check_quantization(self) -> Self:
        if self.quantization not in METHODS[self.method].quantizations:
            raise ValueError(
                f"{METHODS[self.method].title} does not learn on a base model in "
                f"{self.quantization} form."
            )
        return self

    @model_validator(mode="after")
    def _check_division(self) -> Self:
        is_possible = (
            METHODS[self.method].base_stays_frozen and self.quantization is Quantization.NONE
        )
        if self.divides_model and not is_possible:
            raise ValueError(
                f"{METHODS[self.method].title} does not go with a base model that is divided over "
                "several devices."
            )
        return self

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        is_in_layers = METHODS[self.method].family is Family.LAYERS
        if OBJECTIVES[self.objective].sorts and not is_in_layers:
            raise ValueError(f"{METHODS[self.method].title} does not go with sorting into kinds.")
        return self

    @property
    def may_fall_to_four_bits(self) -> bool:
        return _may_fall_to_four_bits(self)

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        return cls.model_validate_json((run_folder / RECIPE_FILE).read_text(encoding="utf-8"))


def _with_objective_settings(content: dict[str, Any]) -> dict[str, Any]:
    objective = content.get("objective", Objective.ANSWERS)
    given = content.get("objective_settings", {})
    if objective not in list(Objective) or not isinstance(given, dict):
        return content
    settings = checked_objective_settings(Objective(objective), given)
    return content | {"objective_settings": settings}


def checked_settings(method: Method, given: Mapping[str, Any]) -> dict[str, SettingValue]:
    """Return all of a method's settings.

    Raises:
        ValueError: with a sentence for each of the given ones that it does not have or allow.
    """
    values, problems = fill_settings(METHODS[method].settings, given)
    if problems:
        raise ValueError(" ".join(problem.message for problem in problems))
    return values


def up_to_date(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's JSON in today's form.

    The first version knew LoRA alone; in the second, preferences were only compared.
    """
    current = dict(content)
    version = current.get("recipe_version", RECIPE_VERSION)
    if version == RECIPE_VERSION and "rank" not in current:
        return current
    moved = {name: current.pop(name) for name in ("rank", "alpha", "dropout") if name in current}
    current["method_settings"] = moved | current.get("method_settings", {})
    if OBJECTIVES[objective_in(current)].weighs_answers:
        given = current.get("objective_settings") or {}
        current["objective_settings"] = {ANSWER_WEIGHT: 0.0} | given
    return current | {"recipe_version": RECIPE_VERSION}


class RecipeChoices(BaseModel):
    """What an expert may change in the drawer, within checked bounds; None keeps the rule's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method | None = None
    method_settings: MethodSettings = Field(default_factory=dict)
    """Only those that were chosen; they belong to the chosen method, or else to the rule's."""
    quantization: Quantization | None = None
    four_bits_if_short: bool | None = None
    objective: Objective = Objective.ANSWERS
    objective_settings: MethodSettings = Field(default_factory=dict)
    """Only those that were chosen."""
    start_from: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """The number of the version to go on from; its method and settings are taken over."""
    learning_rate: float | None = Field(default=None, ge=1e-6, le=1.0)
    epochs: int | None = Field(default=None, ge=1, le=100)
    examples_per_update: int | None = Field(default=None, ge=1, le=512)
    max_tokens_per_example: int | None = Field(default=None, ge=32, le=131_072)
    evaluations: int | None = Field(default=None, ge=1, le=100)
    patience: int | None = Field(default=None, ge=0, le=100)
    devices: int | None = Field(default=None, ge=1, le=MOST_DEVICES)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _check_method_settings(self) -> Self:
        checked_settings(self.method or Method.LORA, self.method_settings)
        checked_objective_settings(self.objective, self.objective_settings)
        return self


class FittedSettings(BaseModel):
    """What the rules chose for an amount of data and a base model."""

    model_config = ConfigDict(frozen=True)

    method: Method
    method_settings: MethodSettings
    learning_rate: float
    epochs: int
    examples_per_update: int
    max_tokens_per_example: int
    evaluations: int
    patience: int
    quantization: Quantization = Quantization.NONE
    four_bits_if_short: bool = True
    devices: int = 1

    @property
    def may_fall_to_four_bits(self) -> bool:
        return _may_fall_to_four_bits(self)

    def changed_by(self, choices: RecipeChoices) -> Self:
        """Return them with what an expert chose instead.

        The method and its settings are not looked at: what was fitted follows from them already.
        """
        may_change = type(self).model_fields.keys() - {"method", "method_settings"}
        return self.model_copy(update=choices.model_dump(include=may_change, exclude_none=True))

    def updates(self, train_count: int) -> int:
        return self.epochs * ceil(train_count / self.examples_per_update)


def _may_fall_to_four_bits(chosen: Recipe | FittedSettings) -> bool:
    """Say whether a run goes on with the base model in 4 bits where nothing else helps."""
    # Several devices would have to agree on it in the middle of an update.
    is_alone = chosen.devices == 1
    return (
        chosen.four_bits_if_short
        and is_alone
        and chosen.quantization is not Quantization.FOUR_BIT
        and Quantization.FOUR_BIT in METHODS[chosen.method].quantizations
    )


_SHORTEST_EXAMPLE: Final = 32
_EFFORTS: Final = {
    Preset.QUICK: Effort(updates=120, passes=2, enough_updates=300, least=1, most=5),
    Preset.BALANCED: Effort(updates=340, passes=6, enough_updates=900, least=2, most=10),
    Preset.THOROUGH: Effort(updates=680, passes=12, enough_updates=1800, least=3, most=20),
}
# A quick run is over before it could get worse for long. How often and how long is looked.
_EVALUATIONS: Final = {Preset.QUICK: 5, Preset.BALANCED: USUAL_EVALUATIONS, Preset.THOROUGH: 10}
_PATIENCE: Final = {Preset.QUICK: 0, Preset.BALANCED: 2, Preset.THOROUGH: 3}


def room_for_example(context_length: int, method: Method, settings: SettingValues) -> int:
    """Return how long an example can be where a base model reads so many tokens at once."""
    return max(_SHORTEST_EXAMPLE, context_length - METHODS[method].virtual_tokens(settings))


def fit_settings(
    preset: Preset,
    train_count: int,
    base_parameters: int,
    context_length: int,
    method: Method = Method.LORA,
    chosen: SettingValues | None = None,
    objective: Objective = Objective.ANSWERS,
) -> FittedSettings:
    """Choose settings by the rules above.

    Args:
        preset: how much care the maker asked for.
        train_count: examples that will be learned from.
        base_parameters: parameters of the base model.
        context_length: tokens that the base model can read at once.
        method: the method of learning.
        chosen: settings of the method that an expert chose; the others follow from them.
        objective: what is learned.
    """
    spec = METHODS[method]
    settings, _ = fill_settings(spec.settings, chosen or {}, spec.by_preset.get(preset.value))
    room = room_for_example(context_length, method, settings)
    return FittedSettings(
        method=method,
        method_settings=settings,
        learning_rate=spec.learning_rate_factor
        * OBJECTIVES[objective].learning_rate_factor
        * rules.learning_rate(base_parameters),
        epochs=rules.passes(
            train_count,
            _EFFORTS[preset],
            by_rote=OBJECTIVES[objective].is_known_by_heart and rules.is_small(base_parameters),
        ),
        examples_per_update=rules.examples_per_update(train_count),
        max_tokens_per_example=min(room, 2048),
        evaluations=_EVALUATIONS[preset],
        patience=_PATIENCE[preset],
    )
