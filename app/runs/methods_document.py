"""The table of methods as a document: docs/methods.md, written by `tailor methods --markdown`."""

from typing import Final

from app.runs.methods import METHODS, MethodSpec, Quantization
from app.runs.setting import Setting

_INTRODUCTION: Final = (
    "Written by `tailor methods --markdown` from `app/runs/methods.py`; do not edit by hand. "
    "“Step size” says how many times larger the learning rate is than LoRA's for the same base "
    "model. Where a default follows the preset, that of “Balanced” is named. “Base model in fewer "
    "bits” says in how few the base model's frozen weights can be held while it learns, through "
    "bitsandbytes: in 8 (LLM.int8), or in 4 (NF4 with double quantisation, QLoRA)."
)


def as_text() -> str:
    """Return one line for each method."""
    return "\n".join(f"{spec.title}: {spec.sentence}" for spec in METHODS.values())


def as_markdown() -> str:
    """Return the whole table."""
    parts = ["# Methods", _INTRODUCTION]
    parts += [_section(spec) for spec in METHODS.values()]
    return "\n\n".join(parts)


def _section(spec: MethodSpec) -> str:
    lines = [
        f"## {spec.title}",
        "",
        spec.sentence,
        "",
        f"- Suits: {spec.suits}",
        f"- Does not suit: {spec.suits_not}",
        f"- Base model in fewer bits: {_few_bits(spec)}",
        f"- Step size: {spec.learning_rate_factor:g}",
        f"- Source: {spec.source}",
    ]
    if spec.settings:
        lines += ["", "| Setting | What it means | Default | May be |", "| --- | --- | --- | --- |"]
        lines += [_row(spec, setting) for setting in spec.settings]
    return "\n".join(lines)


def _few_bits(spec: MethodSpec) -> str:
    names = {Quantization.EIGHT_BIT: "8", Quantization.FOUR_BIT: "4"}
    forms = [names[form] for form in spec.quantizations if form in names]
    return " or ".join(forms) if forms else "no"


def _row(spec: MethodSpec, setting: Setting) -> str:
    chosen = spec.by_preset.get("balanced", {}).get(setting.name, setting.default)
    default = setting.in_words(chosen)
    if setting.times is not None:
        default = f"{setting.times[1]:g} × {setting.times[0].replace('_', ' ')}"
    return f"| {setting.label} | {setting.meaning} | {default} | {setting.allowed} |"
