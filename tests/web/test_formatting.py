"""Numbers, sizes and times as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.sizes import filesize, percent
from app.web import formatting

NOW = datetime(2026, 11, 23, 20, 35, tzinfo=UTC)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0, 0, "0"),
        (1234, 0, "1,234"),
        (0.41234, 2, "0.41"),
        (-3, 0, "\N{MINUS SIGN}3"),
        (float("nan"), 0, "–"),
        (float("inf"), 2, "–"),
    ],
)
def test_number(value: float, digits: int, expected: str) -> None:
    assert formatting.number(value, digits) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.000213, "0.000213"),
        (0.0002, "0.000200"),
        (12.345, "12.3"),
        (0.41, "0.410"),
        (123456.0, "123,000"),
        (1.2e-6, "0.00000120"),
        (9.2e-16, "almost 0"),
        (float("nan"), "–"),
    ],
)
def test_significant(value: float, expected: str) -> None:
    assert formatting.significant(value) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_400_000_000, "1.4 GB"),
        (999_600, "1 MB"),
        (123_456_789, "123 MB"),
        (5e15, "5,000 TB"),
    ],
)
def test_filesize(size: float, expected: str) -> None:
    assert plain(filesize(size)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "a few seconds"),
        (23, "about 25 seconds"),
        (70, "about 1 minute"),
        (170, "about 3 minutes"),
        (34 * 60, "about 35 minutes"),
        (58 * 60, "about 1 hour"),
        (8000, "about 2 hours 15 minutes"),
        (20 * 3600, "about 20 hours"),
        (3 * 86400, "about 3 days"),
        (float("inf"), "an unknown time"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert plain(formatting.duration(seconds)) == expected


def test_a_longer_time_is_never_said_to_be_shorter() -> None:
    words = list(dict.fromkeys(formatting.duration(seconds) for seconds in range(0, 200_000, 7)))
    said_once = [formatting.duration(seconds) for seconds in range(0, 200_000, 7)]
    assert sorted(said_once, key=words.index) == said_once


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(4.21, "4.2 s"), (59.7, "1 min 0 s"), (62.4, "1 min 2 s"), (3725, "1 h 2 min")],
)
def test_exact_duration(seconds: float, expected: str) -> None:
    assert plain(formatting.exact_duration(seconds)) == expected


def test_plural() -> None:
    assert plain(formatting.plural(1, "example")) == "1 example"
    assert plain(formatting.plural(0, "example")) == "0 examples"
    assert plain(formatting.plural(1200, "reply", "replies")) == "1,200 replies"


@pytest.mark.parametrize(
    ("share", "digits", "expected"),
    [
        (0.984, 0, "98 %"),
        (1.0, 0, "100 %"),
        (0.9999, 0, "99 %"),
        (0.99999, 1, "99.9 %"),
        (1.5, 0, "150 %"),
        (float("nan"), 0, "–"),
    ],
)
def test_percent_reaches_a_hundred_only_when_all_is_there(
    share: float, digits: int, expected: str
) -> None:
    assert plain(percent(share, digits)) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=-20), "just now"),
        (timedelta(minutes=5), "5 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=26), "1 day ago"),
        (timedelta(days=30), "on 24 October 2026"),
        (timedelta(days=-1), "24 November 2026, 20:35 UTC"),
    ],
)
def test_ago(before: timedelta, expected: str) -> None:
    assert f">{expected}</time>" in plain(formatting.ago(NOW - before, NOW))


def test_a_moment_without_a_zone_is_taken_as_utc() -> None:
    naive = NOW.replace(tzinfo=None)
    assert formatting.date_time(naive) == formatting.date_time(NOW)
    assert 'datetime="2026-11-23T20:35:00+00:00"' in formatting.date(naive)


def test_a_moment_of_another_zone_is_shown_in_utc() -> None:
    stockholm = datetime(2026, 11, 24, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert ">23 November 2026, 23:30 UTC<" in formatting.date_time(stockholm)
