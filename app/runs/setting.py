"""One setting of a method or an objective: what it is called, what it means, what it may be.

Tables of these drive the form, the validation, the documents and the tests, so that nothing about
a setting is written down twice.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SettingValue = bool | int | float | str
SettingValues = Mapping[str, SettingValue]

YES: Final = "yes"
NO: Final = "no"


class Kind(StrEnum):
    WHOLE = "whole"
    DECIMAL = "decimal"
    CHOICE = "choice"
    YES_NO = "yes-no"


@dataclass(frozen=True)
class Option:
    """One of the values of a choice, with its name for people."""

    value: str
    label: str


@dataclass(frozen=True)
class Setting:
    """A setting with its bounds.

    Attributes:
        name: in recipes and forms.
        label: its name for people.
        meaning: one sentence that explains it.
        default: what it is if nobody chooses.
        lowest: the least number, if it is one.
        highest: the greatest number, if it is one.
        options: the values of a choice.
        times: another setting and a factor, whose product is the default in place of `default`.
    """

    name: str
    label: str
    meaning: str
    kind: Kind
    default: SettingValue
    lowest: float = -math.inf
    highest: float = math.inf
    options: tuple[Option, ...] = ()
    times: tuple[str, float] | None = None

    @property
    def allowed(self) -> str:
        """What it may be, in words: “a whole number from 1 to 256”."""
        match self.kind:
            case Kind.CHOICE:
                return "one of: " + ", ".join(option.label for option in self.options)
            case Kind.YES_NO:
                return f"{YES} or {NO}"
            case Kind.WHOLE:
                return f"a whole number from {self.lowest:,.0f} to {self.highest:,.0f}"
            case Kind.DECIMAL:
                return f"a number from {self.lowest:g} to {self.highest:g}"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The values of a choice with their names."""
        return [(option.value, option.label) for option in self.options]

    def in_words(self, value: SettingValue) -> str:
        """Return a value as people read it."""
        if self.kind is Kind.YES_NO:
            return YES if value else NO
        if self.kind is Kind.CHOICE:
            return next((o.label for o in self.options if o.value == value), str(value))
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"

    def read(self, text: str) -> SettingValue | None:
        """Return the value that was typed, or None if it is none that is allowed."""
        plain = text.strip()
        if self.kind is Kind.YES_NO:
            return {YES: True, NO: False}.get(plain.lower())
        if self.kind is Kind.CHOICE:
            return self.accept(plain)
        plain = plain.replace(",", "")
        try:
            return self.accept(int(plain) if self.kind is Kind.WHOLE else float(plain))
        except ValueError:
            return None

    def accept(self, value: object) -> SettingValue | None:
        """Return the value in its own type, or None if it is not allowed."""
        if self.kind is Kind.YES_NO:
            return value if isinstance(value, bool) else None
        if self.kind is Kind.CHOICE:
            known = (option.value for option in self.options)
            return value if isinstance(value, str) and value in known else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.lowest <= value <= self.highest:
            return None
        if self.kind is Kind.DECIMAL:
            return float(value)
        return int(value) if float(value).is_integer() else None


@dataclass(frozen=True)
class SettingProblem:
    """A setting that cannot have the value it was given."""

    setting: str
    """Its name; also that of the form's field, for whoever adds what stands before it."""
    message: str


def fill_settings(
    settings: Sequence[Setting], given: Mapping[str, object], defaults: SettingValues | None = None
) -> tuple[dict[str, SettingValue], list[SettingProblem]]:
    """Return all settings with their values, and every problem at once.

    Args:
        settings: those that there are.
        given: what was chosen; what is missing gets its default.
        defaults: defaults that go before a setting's own.
    """
    values: dict[str, SettingValue] = {}
    problems = [
        SettingProblem(name, f"There is no setting called “{name}” here.")
        for name in given
        if all(setting.name != name for setting in settings)
    ]
    for setting in settings:
        wanted = given.get(setting.name, _default(setting, values, defaults or {}))
        value = setting.accept(wanted)
        if value is None:
            problems.append(
                SettingProblem(setting.name, f"{setting.label} must be {setting.allowed}.")
            )
        values[setting.name] = setting.default if value is None else value
    return values, problems


def find_setting(settings: Iterable[Setting], name: str) -> Setting | None:
    return next((setting for setting in settings if setting.name == name), None)


def _default(
    setting: Setting, values: Mapping[str, SettingValue], defaults: SettingValues
) -> SettingValue:
    if setting.name in defaults:
        return defaults[setting.name]
    if setting.times is not None:
        other, factor = setting.times
        product = float(values[other]) * factor
        product = min(max(product, setting.lowest), setting.highest)
        return round(product) if setting.kind is Kind.WHOLE else product
    return setting.default
