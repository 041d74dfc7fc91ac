"""What there is to know of a method of learning, before any method is told of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.runs.setting import Setting, SettingValues


class Method(StrEnum):
    LORA = "lora"
    RSLORA = "rslora"
    DORA = "dora"
    LORA_PLUS = "lora_plus"
    PISSA = "pissa"
    OLORA = "olora"
    ADALORA = "adalora"
    VERA = "vera"
    LOHA = "loha"
    LOKR = "lokr"
    OFT = "oft"
    BOFT = "boft"
    IA3 = "ia3"
    LAYER_NORMS = "layer_norms"
    PROMPT_TUNING = "prompt_tuning"
    P_TUNING = "p_tuning"
    PREFIX_TUNING = "prefix_tuning"
    FULL = "full"


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
        quantizations: in which forms it can learn on a base model; all those that were tried with
            it and work.
        needs_float32: whether weights of the base model's own kind learn, for which 16 bits are
            too coarse.
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
    needs_float32: bool = False

    @property
    def base_stays_frozen(self) -> bool:
        return self.family is not Family.FULL

    def virtual_tokens(self, settings: Mapping[str, Any]) -> int:
        """Return how many places of the model's context are taken before any text."""
        return int(settings["virtual_tokens"]) if self.family is Family.PROMPT else 0

    def trained_share(self, settings: Mapping[str, Any]) -> float:
        """Return about which share of the base model's weights is trained."""
        units = float(settings[self.size_setting]) if self.size_setting else 1.0
        return self.share_per_unit * units
