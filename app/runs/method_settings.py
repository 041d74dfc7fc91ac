"""Settings that several methods share, and defaults that follow the preset."""

from typing import Final

from app.runs.method_spec import Quantization
from app.runs.setting import Kind, Setting, SettingValue


def rank(
    default: int = 16,
    meaning: str = "How much the small added part can hold; more room takes more memory.",
    highest: int = 256,
) -> Setting:
    return Setting(
        "rank",
        "Room to learn (rank)",
        meaning,
        Kind.WHOLE,
        default=default,
        lowest=1,
        highest=highest,
    )


def alpha(
    times_rank: float | None,
    default: int = 32,
    meaning: str = "How strongly the added part acts; its effect is alpha divided by the rank.",
) -> Setting:
    return Setting(
        "alpha",
        "Strength (alpha)",
        meaning,
        Kind.WHOLE,
        default=default,
        lowest=1,
        highest=512,
        times=None if times_rank is None else ("rank", times_rank),
    )


DROPOUT: Final = Setting(
    "dropout",
    "Forgetfulness (dropout)",
    "The share of what the added part sees that is left away at random, against learning by heart.",
    Kind.DECIMAL,
    default=0.0,
    lowest=0.0,
    highest=0.5,
)


RANK_BY_PRESET: Final[dict[str, dict[str, SettingValue]]] = {
    "quick": {"rank": 8},
    "balanced": {"rank": 16},
    "thorough": {"rank": 32},
}
# All linear layers at rank 16 train about one number in a hundred of the base model.
SHARE_PER_RANK: Final = 0.01 / 16
NOT_IN_FEW_BITS: Final = (Quantization.NONE,)
