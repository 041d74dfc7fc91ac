"""What Tailor itself chooses for a case."""

from typing import Final

from app.base_models.files import read_shape
from app.runs.recipe import Preset, fit_settings
from benchmarks.preset_sweep.data import read_case
from benchmarks.preset_sweep.trial import Bench, Settings, Trial

_CONTEXT: Final = 1024


def chosen_by_rules(bench: Bench, model: str, case: str, preset: Preset) -> Trial:
    """Return the trial of the settings that the product would choose."""
    fitted = fit_settings(
        preset,
        len(read_case(case, bench.shared).train),
        read_shape(bench.models[model]).parameters,
        _CONTEXT,
    )
    rank, alpha = (int(fitted.method_settings[name]) for name in ("rank", "alpha"))
    settings = Settings(
        learning_rate=fitted.learning_rate,
        rank=rank,
        alpha=0 if alpha == 2 * rank else alpha,
        dropout=float(fitted.method_settings["dropout"]),
        epochs=fitted.epochs,
        examples_per_update=fitted.examples_per_update,
    )
    return Trial(model, case, settings)
