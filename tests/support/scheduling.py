"""Which tests share a test process: those that share something dear, such as a started Tailor."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

_ONE_PROCESS_EACH: Final = ("tests/chat/", "tests/inference/")
_JOURNEYS: Final = "tests/e2e/"


class SharingScheduler(LoadScopeScheduling):  # type: ignore[misc] # (it ships no types)
    """Gives tests out one by one, but those that share something together.

    xdist's own groups travel in the names of tests, which pytest 9.2 no longer lets it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test belongs to; xdist keeps what is alike in one process."""
        for folder in _ONE_PROCESS_EACH:
            if nodeid.startswith(folder):
                return folder
        if nodeid.startswith(_JOURNEYS):
            return f"{_JOURNEYS}{'servers' if '[servers' in nodeid else 'embedded'}"
        return nodeid
