"""What the presets choose, from very little data to very much and from small models to large."""

from itertools import pairwise

import pytest

from app.runs.objectives import Objective
from app.runs.recipe import FittedSettings, Preset, fit_settings

STARTER = 2_800_000
COUNTS = (1, 15, 31, 32, 120, 180, 255, 900, 9_800, 1_000_000)


def fitted(
    count: int, preset: Preset = Preset.BALANCED, parameters: int = STARTER
) -> FittedSettings:
    return fit_settings(preset, count, parameters, 1024)


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize("count", COUNTS)
def test_all_of_the_data_is_seen_in_whole_passes(preset: Preset, count: int) -> None:
    settings = fitted(count, preset)
    assert settings.epochs >= (3 if preset is Preset.THOROUGH else 1)
    assert settings.updates(count) * settings.examples_per_update >= count * settings.epochs


def test_more_data_means_more_examples_per_update_and_no_more_passes() -> None:
    chosen = [fitted(count) for count in COUNTS]
    for fewer, more in pairwise(chosen):
        assert fewer.examples_per_update <= more.examples_per_update
        assert fewer.epochs >= more.epochs
    assert (chosen[0].examples_per_update, chosen[-1].examples_per_update) == (1, 16)


@pytest.mark.parametrize("count", [count for count in COUNTS if 100 <= count < 1_000])
def test_the_updates_lie_near_the_target(count: int) -> None:
    texts = fit_settings(Preset.BALANCED, count, STARTER, 1024, objective=Objective.TEXTS)
    assert 220 <= texts.updates(count) <= 500
    assert 220 <= fitted(count).updates(count) <= 800


@pytest.mark.parametrize(
    ("objective", "parameters", "of_900", "of_9_800"),
    [
        (Objective.ANSWERS, STARTER, 6, 2),
        (Objective.KINDS, STARTER, 6, 2),
        (Objective.TEXTS, STARTER, 3, 2),
        (Objective.DPO, STARTER, 3, 2),
        (Objective.ANSWERS, 135_000_000, 3, 2),
        (Objective.ANSWERS, 0, 3, 2),
    ],
)
def test_a_small_model_goes_more_often_over_what_it_is_to_know_while_that_is_little(
    objective: Objective, parameters: int, of_900: int, of_9_800: int
) -> None:
    for count, passes in ((900, of_900), (9_800, of_9_800)):
        chosen = fit_settings(Preset.BALANCED, count, parameters, 1024, objective=objective)
        assert chosen.epochs == passes


def test_one_example_more_never_changes_the_work_by_much() -> None:
    for count in range(20, 3_000):
        now, then = fitted(count).epochs * count, fitted(count + 1).epochs * (count + 1)
        assert 0.6 < then / now < 1.5, count


def test_each_preset_takes_more_care_than_the_one_before() -> None:
    for count in (15, 180, 900, 9_800):
        quick, balanced, thorough = (fitted(count, preset) for preset in Preset)
        assert quick.epochs < balanced.epochs < thorough.epochs
        assert quick.learning_rate == balanced.learning_rate == thorough.learning_rate


@pytest.mark.parametrize(
    ("parameters", "lowest", "highest"),
    [
        (STARTER, 4e-3, 5e-3),
        (135_000_000, 9e-4, 1.1e-3),
        (7_000_000_000, 2e-4, 2e-4),
        (33_000_000_000, 1e-4, 1.2e-4),
        (1_000, 5e-3, 5e-3),
        # Not known, so it may be large.
        (0, 2e-4, 2e-4),
    ],
)
def test_larger_models_take_smaller_steps(parameters: int, lowest: float, highest: float) -> None:
    assert lowest <= fitted(100, parameters=parameters).learning_rate <= highest
