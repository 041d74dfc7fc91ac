"""How sizes and shares read, on pages and in sentences alike."""

import math
from typing import Final

_SIZE_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def filesize(size: float) -> str:
    """Bytes in the decimal units that people see on their disks: 1_400_000_000 -> "1.4 GB"."""
    amount = float(size)
    for unit in _SIZE_UNITS[:-1]:
        if abs(amount) < 999.5:
            return f"{_short(amount)}{_NO_BREAK}{unit}"
        amount /= 1000
    return f"{_short(amount)}{_NO_BREAK}{_SIZE_UNITS[-1]}"


def percent(share: float, digits: int = 0) -> str:
    """A share of one: 0.984 -> "98 %". Never rounds up to a whole that is not reached."""
    if not math.isfinite(share):
        return "–"
    scale = 10**digits
    value = round(share * 100 * scale) / scale
    if share < 1 <= value / 100:
        value = 100 - 1 / scale
    return f"{value:,.{digits}f}{_NO_BREAK}%"


def _short(amount: float) -> str:
    if amount == round(amount) or abs(amount) >= 99.5:
        return f"{amount:,.0f}"
    return f"{amount:.1f}".removesuffix(".0")
