"""A running Tailor that several browser tests share, with its first account made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser

from tests.support.maker import Maker, maker_at
from tests.support.running_tailor import RunningTailor


@dataclass
class House:
    """A started Tailor, a browser, and what has been made in it so far."""

    tailor: RunningTailor
    browser: Browser
    signed_in: Any = None
    """The browser's cookies once somebody has signed in."""
    _trained: tuple[str, str] | None = field(default=None)

    @property
    def url(self) -> str:
        return self.tailor.url

    def set_up(self) -> None:
        """Make the first account by the link that Tailor printed."""
        with maker_at(self.browser, self.url) as maker:
            maker.set_up(self.tailor.set_up_link())
            self.signed_in = maker.context.storage_state()
            assert maker.complaints == []

    @contextmanager
    def maker(self, **options: Any) -> Iterator[Maker]:  # noqa: ANN401 (options of a browser)
        """A signed-in person; at the end the browser must have complained of nothing."""
        options.setdefault("storage_state", self.signed_in)
        with maker_at(self.browser, self.url, **options) as maker:
            yield maker
            assert maker.complaints == []

    def trained_sample(self) -> tuple[str, str]:
        """The paths of a sample project and its finished run; trained once for all tests."""
        if self._trained is None:
            with self.maker() as maker:
                project = maker.try_sample("brand_voice")
                run = maker.start_training(project)
                maker.wait_for_the_end()
                self._trained = project, run
        return self._trained
