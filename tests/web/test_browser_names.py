"""Browsers by the names that people know."""

import pytest

from app.web.browser_names import browser_name

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/156.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Gecko/2010 Firefox/150.0", "Firefox on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/1 Safari/1 Edg/1", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; like Mac OS X) Version/18 Safari/604.1", "Safari on an iPhone"),
        ("curl/8.5.0", "curl"),
        ("", "A program"),
    ],
)  # fmt: skip
def test_the_name_is_one_that_people_know(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name
