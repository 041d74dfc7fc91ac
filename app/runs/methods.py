"""The methods of learning: one table that drives form, validation, documents and tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.runs.setting import Kind, Setting, SettingValue, SettingValues


class Method(StrEnum):
    LORA = "lora"


class Quantization(StrEnum):
    """In how few bits the base model's frozen weights are held while it learns."""

    NONE = "none"
    EIGHT_BIT = "8bit"
    FOUR_BIT = "4bit"


class Family(StrEnum):
    LAYERS = "layers"
    """Small trained parts inside of the base model's layers."""
    PROMPT = "prompt"
    """Trained vectors that stand before every text; the layers stay as they are."""
    FULL = "full"
    """The base model's own weights are trained; there is no adapter."""


@dataclass(frozen=True)
class MethodSpec:
    """What there is to know of a method.

    Attributes:
        title: its name in the field.
        sentence: what it does, in one plain sentence.
        suits: when to choose it.
        suits_not: when not to.
        settings: its own settings, in the order in which they are shown.
        source: the publication it comes from.
        family: where what it trains stands.
        learning_rate_factor: its usual learning rate, in multiples of LoRA's.
        by_preset: defaults of its settings that follow the preset, by the preset's name.
        share_per_unit: the share of the base model's weights that is trained, for each unit of
            `size_setting`; rough, for room on the disk.
        size_setting: the setting that its size grows with, if there is one.
        quantizations: in which forms it can learn on a base model.
    """

    title: str
    sentence: str
    suits: str
    suits_not: str
    settings: tuple[Setting, ...]
    source: str
    family: Family = Family.LAYERS
    learning_rate_factor: float = 1.0
    by_preset: Mapping[str, SettingValues] = field(default_factory=dict)
    share_per_unit: float = 0.0
    size_setting: str | None = None
    quantizations: tuple[Quantization, ...] = tuple(Quantization)

    @property
    def base_stays_frozen(self) -> bool:
        return self.family is not Family.FULL

    def trained_share(self, settings: Mapping[str, Any]) -> float:
        """Return about which share of the base model's weights is trained."""
        units = float(settings[self.size_setting]) if self.size_setting else 1.0
        return self.share_per_unit * units


def _rank(highest: int = 256) -> Setting:
    return Setting(
        "rank",
        "Room to learn (rank)",
        "How much the small added part can hold; more room takes more memory.",
        Kind.WHOLE,
        default=16,
        lowest=1,
        highest=highest,
    )


def _alpha(times_rank: float) -> Setting:
    return Setting(
        "alpha",
        "Strength (alpha)",
        "How strongly the added part acts; its effect is alpha divided by the rank.",
        Kind.WHOLE,
        default=32,
        lowest=1,
        highest=512,
        times=("rank", times_rank),
    )


_DROPOUT: Final = Setting(
    "dropout",
    "Forgetfulness (dropout)",
    "The share of what the added part sees that is left away at random, against learning by heart.",
    Kind.DECIMAL,
    default=0.0,
    lowest=0.0,
    highest=0.5,
)
_RANK_BY_PRESET: Final[dict[str, dict[str, SettingValue]]] = {
    "quick": {"rank": 8},
    "balanced": {"rank": 16},
    "thorough": {"rank": 32},
}
# All linear layers at rank 16 train about one number in a hundred of the base model.
_SHARE_PER_RANK: Final = 0.01 / 16

METHODS: Final[dict[Method, MethodSpec]] = {
    Method.LORA: MethodSpec(
        title="LoRA",
        sentence="Beside each layer of the base model stands a small added part, and only these "
        "parts learn.",
        suits="The usual choice, for nearly everything.",
        suits_not="Where what is to be learned is very much, a higher rank or full fine-tuning may "
        "hold more.",
        settings=(_rank(), _alpha(2.0), _DROPOUT),
        source="Hu et al., LoRA, 2021 (arXiv 2106.09685)",
        by_preset=_RANK_BY_PRESET,
        share_per_unit=_SHARE_PER_RANK,
        size_setting="rank",
    ),
}
