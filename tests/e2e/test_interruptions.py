"""Kill every process of Tailor during a training, one after the other, then all of them.

Each time the page is right again by itself, the training goes on by itself, and in the end the
adapter is the same to the bit as that of a training that nobody disturbed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.house import House
from tests.support.maker import TRAINING_MS, Maker
from tests.support.running_tailor import RunningTailor, running_tailor
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

_BACK_SECONDS = 120
"""How long a killed process may take to be back and at work on a busy machine."""
_EPOCHS = 18
"""On a quick machine it does two hundred updates while the pages alone come back."""
_OVER = 10**9
"""Further than any step."""
_SETTINGS = {"TAILOR_TEST_LEASE_SECONDS": "6"}
"""A run whose worker died is taken up after so long; half a minute otherwise."""


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_tailor(tmp_path_factory.mktemp("killed") / "data", _SETTINGS) as tailor:
        house = House(tailor, browser)
        house.set_up()
        yield house


def test_a_killed_training_ends_with_the_same_adapter(house: House) -> None:
    with house.maker() as maker:
        project = maker.try_sample("brand_voice")
        maker.start_training(project, "Balanced", _EPOCHS)
        run = urlsplit(maker.page.url).path
        maker.is_interrupting = True
        for kill in (_kill_training, _kill_worker, _kill_web, _kill_everything):
            _learn_on(maker.page, 8)
            _note(kill.__name__, maker.page)
            kill(house.tailor, maker)
        _reload_and_second_tab(maker, run)
        maker.wait_for_the_end()
        maker.is_interrupting = False
        maker.start_training(project, "Balanced", _EPOCHS)
        maker.wait_for_the_end()
        assert _adapter_digest(maker, project, 1) == _adapter_digest(maker, project, 2)


def _kill_training(tailor: RunningTailor, _: Maker) -> None:
    assert tailor.kill_matching(r"worker\.training\.main")
    _wait_for_process(tailor, r"worker\.training\.main")


def _kill_worker(tailor: RunningTailor, _: Maker) -> None:
    killed = set(tailor.kill_matching(r"worker --queue runs"))
    assert killed
    training = r"worker\.training\.main"
    wait_until(
        lambda: not killed & set(tailor.processes()), timeout=30, what="the worker to be gone"
    )
    _wait_for_process(tailor, training)


def _kill_web(tailor: RunningTailor, maker: Maker) -> None:
    """The open page notices, and is right again soon after the pages are back."""
    assert tailor.kill_matching(r"app\.cli web")
    lost = maker.page.locator("[data-live-state=run]")
    expect(lost).not_to_be_empty()
    wait_until(tailor.healthy, timeout=_BACK_SECONDS, what="the pages to be back")
    expect(lost).to_be_empty(timeout=60_000)


def _kill_everything(tailor: RunningTailor, maker: Maker) -> None:
    tailor.kill()
    wait_until(lambda: not tailor.processes(), timeout=30, what="everything to be gone")
    tailor.start()
    expect(maker.page.locator("[data-live-state=run]")).to_be_empty(timeout=60_000)


def _reload_and_second_tab(maker: Maker, run: str) -> None:
    _learn_on(maker.page, 1)
    before = _step(maker.page)
    maker.page.reload()
    assert _step(maker.page) >= before
    second = maker.context.new_page()
    second.goto(maker.url + run)
    assert _step(second) >= before
    second.close()


def _step(page: Page) -> int:
    """The step that the page shows; the last one if the training is done, 0 before the first."""
    # In one look, for the bar may leave between two.
    texts = page.locator("#run [role=progressbar][aria-valuetext]").evaluate_all(
        "bars => bars.map((bar) => bar.getAttribute('aria-valuetext'))"
    )
    found = re.match(r"([\d,]+) of", texts[0] if texts else "")
    if found:
        return int(found.group(1).replace(",", ""))
    return _OVER if page.get_by_role("link", name="Try it", exact=True).count() > 0 else 0


def _learn_on(page: Page, steps: int) -> None:
    """Wait until the page shows so many steps more than it does now."""
    shown = _step(page)
    wait_until(
        lambda: _step(page) >= shown + steps or _step(page) == _OVER,
        timeout=TRAINING_MS / 1000,
        what=f"{steps} steps more than {shown} on the page",
    )
    assert _step(page) < _OVER, "the training was over before it was disturbed: choose a longer one"


def _wait_for_process(tailor: RunningTailor, pattern: str) -> None:
    wait_until(
        lambda: any(re.search(pattern, command) for command in tailor.processes().values()),
        timeout=_BACK_SECONDS,
        what=f"{pattern} to run again",
    )


def _note(name: str, page: Page) -> None:
    """Shown by pytest if the test fails: where the training was when it was disturbed."""
    print(f"{name} at step {_step(page)}")  # noqa: T201 (captured)


def _adapter_digest(maker: Maker, project: str, number: int) -> str:
    maker.go(f"{project}/versions/{number}")
    shown = re.search(r"[0-9a-f]{64}", maker.page.locator("#version-details").inner_html())
    assert shown is not None
    return shown.group()


def test_the_data_folder_is_left_in_order(house: House) -> None:
    """Nothing half-made stays behind where trainings were killed."""
    with house.maker():
        folder = Path(house.tailor.data_dir) / "runs"
        leftovers = list(folder.glob("*/.adapter-*"))
    assert leftovers == []
