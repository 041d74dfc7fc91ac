"""How numbers, sizes, times and spans of time read on a page.

It is one place so that another language later changes one place. Every function is also a filter
of the templates under the same name (see app/web/templating.py).
"""

import math
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_LEAST_WRITTEN = 1e-7
_NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: float, digits: int = 0) -> str:
    """1234 -> "1,234"; 0.41234 with digits=2 -> "0.41"."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def significant(value: float, digits: int = 3) -> str:
    """A measured value to so many significant digits: 0.000213 -> "0.000213", 12.345 -> "12.3".

    What is smaller than any setting or any loss that tells something is "almost 0".
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < _LEAST_WRITTEN:
        return "almost 0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return number(round(value, places), max(0, min(places, 9)))


def duration(seconds: float) -> str:
    """A span of time as a person would say it, honest about how exact it is.

    4 -> "a few seconds", 170 -> "about 3 minutes", 8000 -> "about 2 hours 15 minutes".
    """
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 5) * 5} seconds"
    if seconds < 90:
        return "about 1 minute"
    if seconds < 57.5 * _MINUTE:
        minutes = round(seconds / _MINUTE)
        return f"about {minutes if minutes < 15 else round(minutes / 5) * 5} minutes"
    return f"about {_hours_or_days(seconds)}"


def exact_duration(seconds: float) -> str:
    """A measured span: 62.4 -> "1 min 2 s", 3725 -> "1 h 2 min", 4.21 -> "4.2 s"."""
    if seconds < 10:
        return f"{seconds:.1f}{_NO_BREAK}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}{_NO_BREAK}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}{_NO_BREAK}min {whole % _MINUTE}{_NO_BREAK}s"
    return f"{whole // _HOUR:,}{_NO_BREAK}h {whole % _HOUR // _MINUTE}{_NO_BREAK}min"


def plural(count: float, singular: str, several: str = "") -> str:
    """1, "example" -> "1 example"; 1200 -> "1,200 examples"; `several` for irregular words."""
    word = singular if count == 1 else several or f"{singular}s"
    return f"{number(count)}{_NO_BREAK}{word}"


def ago(moment: datetime, now: datetime | None = None) -> Markup:
    """When something happened, counted from now, in a <time> that holds the exact moment."""
    moment = _aware(moment)
    seconds = ((_aware(now) if now else datetime.now(UTC)) - moment).total_seconds()
    return _time(moment, _ago_words(seconds, moment))


def date(moment: datetime) -> Markup:
    """The day in a <time>: "23 November 2026"."""
    moment = _aware(moment)
    return _time(moment, _day(moment))


def date_time(moment: datetime) -> Markup:
    """The day and the minute in a <time>: "23 November 2026, 20:35 UTC"."""
    moment = _aware(moment)
    return _time(moment, _day_and_minute(moment))


def _hours_or_days(seconds: float) -> str:
    if seconds >= 2 * _DAY:
        return plural(round(seconds / _DAY), "day")
    if seconds >= 10 * _HOUR:
        return plural(round(seconds / _HOUR), "hour")
    quarters = round(seconds / (15 * _MINUTE))
    hours, minutes = plural(quarters // 4, "hour"), quarters % 4 * 15
    return f"{hours} {minutes} minutes" if minutes else hours


def _ago_words(seconds: float, moment: datetime) -> str:
    if seconds < -_MINUTE:
        return _day_and_minute(moment)
    if seconds < 45:
        return "just now"
    if seconds < 57 * _MINUTE:
        return f"{plural(max(1, round(seconds / _MINUTE)), 'minute')} ago"
    if seconds < 22 * _HOUR:
        return f"{plural(max(1, round(seconds / _HOUR)), 'hour')} ago"
    if seconds < timedelta(days=7).total_seconds():
        return f"{plural(max(1, round(seconds / _DAY)), 'day')} ago"
    return f"on {_day(moment)}"


def _aware(moment: datetime) -> datetime:
    # SQLite gives back naive moments; everything that Tailor stores is in UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _day_and_minute(moment: datetime) -> str:
    return f"{_day(moment)}, {moment:%H:%M} UTC"


def _time(moment: datetime, words: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), _day_and_minute(moment), escape(words)
    )
