"""Wait for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    *,
    timeout: float,
    what: str | Callable[[], str],
    interval: float = 0.05,
) -> T:
    """Return the condition's first true value.

    Args:
        condition: is asked again and again.
        timeout: seconds.
        what: is awaited; a function is asked when the waiting was in vain, for what is known then.
        interval: seconds between two questions.

    Raises:
        AssertionError: if it did not become true within `timeout` seconds; says what was awaited.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            awaited = what if isinstance(what, str) else what()
            raise AssertionError(f"after {timeout} s still waiting for: {awaited}")
        time.sleep(interval)
