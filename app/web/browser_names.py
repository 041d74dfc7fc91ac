"""What a browser calls itself, in words that its owner recognises."""

from typing import Final

# In this order: most browsers also carry the names of older ones.
_PROGRAMS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("CrOS", "a Chromebook"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str) -> str:
    """`Mozilla/5.0 (X11; Linux x86_64) … Chrome/156…` -> `Chrome on Linux`."""
    program = _first(_PROGRAMS, user_agent, "A program")
    system = _first(_SYSTEMS, user_agent, "")
    return f"{program} on {system}" if system else program


def _first(names: tuple[tuple[str, str], ...], text: str, otherwise: str) -> str:
    return next((name for mark, name in names if mark in text), otherwise)
