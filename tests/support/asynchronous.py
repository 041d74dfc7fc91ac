"""Run a coroutine from a test, whatever else runs in this process."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end in a thread of its own.

    The browser's driver keeps an event loop in the main thread for as long as a browser is open
    there, and asyncio allows one per thread.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
