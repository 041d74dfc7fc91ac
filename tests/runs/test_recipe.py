"""Recipes: each setting is checked when it is read, and those of earlier versions are known."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.runs.methods import METHODS, Method, Quantization
from app.runs.objectives import Objective
from app.runs.recipe import RECIPE_VERSION, Preset, Recipe, RecipeChoices, fit_settings
from app.runs.recipe_facts import method_facts
from app.runs.setting import Kind, Option, Setting, fill_settings
from tests.support.runs import RECIPE_OF_NOTHING

FIRST_VERSION: dict[str, Any] = {
    "recipe_version": 1,
    "preset": "balanced",
    "method": "lora",
    "base_model_id": "starter",
    "base_model_name": "Tailor Starter",
    "base_model_folder": "/models/starter",
    "base_model_fingerprint": "f",
    "snapshot_sha256": "",
    "seed": 42,
    "rank": 8,
    "alpha": 24,
    "dropout": 0.1,
    "learning_rate": 0.003,
    "epochs": 2,
    "examples_per_update": 8,
    "max_tokens_per_example": 512,
}


def recipe(**changes: Any) -> Recipe:  # noqa: ANN401 (fields of the recipe)
    plain = {
        name: value
        for name, value in FIRST_VERSION.items()
        if name not in {"recipe_version", "rank", "alpha", "dropout"}
    }
    return Recipe.model_validate(plain | changes)


def test_a_recipe_of_the_first_version_keeps_its_settings(tmp_path: Path) -> None:
    read = Recipe.model_validate(FIRST_VERSION)
    assert read.recipe_version == RECIPE_VERSION
    assert read.method_settings == {"rank": 8, "alpha": 24, "dropout": 0.1}
    (tmp_path / "recipe.json").write_text(read.model_dump_json())
    assert Recipe.read(tmp_path) == read
    facts = {label: value for label, value, _ in method_facts(FIRST_VERSION)}
    assert facts["Method"] == "LoRA"
    assert facts["Room to learn (rank)"] == "8"


@pytest.mark.parametrize("objective", [Objective.DPO, Objective.KTO])
def test_preferences_of_the_second_version_go_on_as_they_began(objective: Objective) -> None:
    begun = recipe(recipe_version=2, objective=objective, objective_settings={"beta": 0.3})
    assert begun.objective_settings["answer_weight"] == 0.0
    assert begun.objective_settings["beta"] == 0.3
    assert recipe(objective=objective).objective_settings["answer_weight"] == 1.0


def test_what_is_not_said_follows_from_what_is() -> None:
    assert recipe().method_settings == {"rank": 16, "alpha": 32, "dropout": 0.0}
    assert recipe(method_settings={"rank": 64}).method_settings["alpha"] == 128
    assert recipe(method_settings={"rank": 256}).method_settings["alpha"] == 512
    assert recipe().quantization is Quantization.NONE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 0}, "a whole number from 1 to 256"),
        ({"rank": 1.5}, "a whole number from 1 to 256"),
        ({"rank": True}, "a whole number from 1 to 256"),
        ({"dropout": 0.9}, "a number from 0 to 0.5"),
        ({"width": 3}, "no setting called “width”"),
        ({"rank": 999, "dropout": 2}, "dropout"),
    ],
)
def test_settings_that_the_method_does_not_have_or_allow_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        recipe(method_settings=settings)
    with pytest.raises(ValidationError, match=words):
        RecipeChoices(method_settings=settings)


def test_an_unknown_method_or_shape_is_refused() -> None:
    with pytest.raises(ValidationError):
        recipe(method="magic")
    with pytest.raises(ValidationError):
        recipe(method=["lora"])
    with pytest.raises(ValidationError):
        recipe(method_settings=[1])


def test_room_to_learn_follows_the_preset_unless_it_is_chosen() -> None:
    ranks = [fit_settings(preset, 100, 10**7, 512).method_settings["rank"] for preset in Preset]
    assert ranks == [8, 16, 32]
    chosen = fit_settings(Preset.QUICK, 100, 10**7, 512, Method.LORA, {"rank": 5})
    assert chosen.method_settings == {"rank": 5, "alpha": 32, "dropout": 0.0}


@pytest.mark.parametrize("method", Method)
def test_every_row_of_the_table_is_whole(method: Method) -> None:
    spec = METHODS[method]
    names = [setting.name for setting in spec.settings]
    assert len(set(names)) == len(names)
    values, problems = fill_settings(spec.settings, {})
    assert (problems, list(values)) == ([], names)
    for preset, defaults in spec.by_preset.items():
        assert Preset(preset)
        assert fill_settings(spec.settings, {}, defaults)[1] == []
    for text in (spec.sentence, spec.suits, spec.suits_not, *(s.meaning for s in spec.settings)):
        assert text.endswith("."), text
    assert 0 < spec.trained_share(values) <= 1


def test_what_is_typed_is_read_in_the_settings_own_kind() -> None:
    number = Setting("n", "Number", "A number.", Kind.DECIMAL, 1.0, 0.0, 2_000.0)
    switch = Setting("s", "Switch", "Yes or no.", Kind.YES_NO, default=False)
    choice = Setting("c", "Choice", "One.", Kind.CHOICE, "a", options=(Option("a", "The first"),))
    assert [number.read(text) for text in ("1,000", "1", "nan", "x", "3e3")] == [
        *(1000.0, 1.0),
        *(None, None, None),
    ]
    assert [switch.read(text) for text in ("yes", "NO", "1")] == [True, False, None]
    assert [choice.read(text) for text in ("a", "The first")] == ["a", None]
    assert (choice.allowed, choice.in_words("a")) == ("one of: The first", "The first")
    assert (switch.allowed, switch.in_words(value=True)) == ("yes or no", "yes")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, True),
        ({"quantization": Quantization.EIGHT_BIT}, True),
        ({"quantization": Quantization.FOUR_BIT}, False),
        ({"four_bits_if_short": False}, False),
        ({"devices": 2}, False),
        ({"method": Method.PISSA}, False),
    ],
)
def test_the_form_and_the_recipe_know_alike_whether_a_run_may_fall_to_four_bits(
    chosen: dict[str, Any], *, expected: bool
) -> None:
    choices = RecipeChoices(**chosen)
    method = choices.method or Method.LORA
    fitted = fit_settings(Preset.QUICK, 100, 5_000_000, 512, method).changed_by(choices)
    recipe = RECIPE_OF_NOTHING.model_validate(
        RECIPE_OF_NOTHING.model_dump(mode="json", exclude={"method_settings"})
        | fitted.model_dump(mode="json")
    )
    assert (fitted.may_fall_to_four_bits, recipe.may_fall_to_four_bits) == (expected, expected)
