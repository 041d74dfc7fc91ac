"""Take the README's pictures again: start a real Tailor, play a sample through, look at it.

`python scripts/screenshots.py` writes docs/images. With `--all FOLDER` every page is taken besides,
on a phone, a tablet and a desk, in light and dark, for our own eyes. The folder of the Tailor that
is started is temporary.
"""

import argparse
import csv
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from playwright.sync_api import Page, ViewportSize, expect  # noqa: E402

from tests.support.browser import chromium  # noqa: E402
from tests.support.crawling import crawl, kind_of  # noqa: E402
from tests.support.house import House  # noqa: E402
from tests.support.maker import TRAINING_MS, Maker, maker_at  # noqa: E402
from tests.support.running_tailor import running_tailor  # noqa: E402

SAMPLES: Final = REPOSITORY / "app" / "projects" / "samples"
IMAGES: Final = REPOSITORY / "docs" / "images"
MOST_BYTES: Final = 250 * 1024
DESK: Final[ViewportSize] = {"width": 1440, "height": 900}
# As high as what the picture is about: a run down to its curve, two questions with their answers.
RUN: Final[ViewportSize] = {"width": 1440, "height": 1330}
CHAT: Final[ViewportSize] = {"width": 1440, "height": 1130}
SIZES: Final = ({"width": 390, "height": 844}, {"width": 768, "height": 1024}, DESK)
QUESTIONS: Final = ("Do you open on Sundays?", "My new bowl came broken. What do I do?")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--all", type=Path, metavar="FOLDER", help="also take every page")
    folder: Path | None = arguments.parse_args().all
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _started() as house:
        first = _take_for_readme(house)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _take_every_page(house, first, folder)


@contextmanager
def _started() -> Iterator[House]:
    with (
        tempfile.TemporaryDirectory(prefix="tailor-pictures-") as folder,
        running_tailor(Path(folder) / "data") as tailor,
        chromium() as browser,
    ):
        house = House(tailor, browser)
        house.set_up()
        yield house


def _take_for_readme(house: House) -> tuple[str, ...]:
    """Write the three pictures; return paths from which a look around may begin."""
    with house.maker(viewport=DESK, color_scheme="light", reduced_motion="reduce") as maker:
        project = maker.try_sample("brand_voice")
        run = maker.start_training(project, "Balanced")
        _wait_for_a_curve(maker.page)
        maker.page.set_viewport_size(RUN)
        _take(maker.page, IMAGES / "training.png")
        maker.page.set_viewport_size(DESK)
        maker.wait_for_the_end()
        report = _import_a_sheet(maker)
        _take(maker.page, IMAGES / "examples.png")
        _ask(maker, project)
        maker.page.set_viewport_size(CHAT)
        _take(maker.page, IMAGES / "chat.png")
        return "/", project, run, report, urlpath(maker.page.url)


def _import_a_sheet(maker: Maker) -> str:
    """Upload a spreadsheet with a few faults; return the path of its report, which is open."""
    project = maker.new_project("Answers of our shop")
    maker.upload(project, {"name": "answers.csv", "mimeType": "text/csv", "buffer": _sheet()})
    maker.press("Import")
    expect(maker.page.get_by_role("heading", name="What became of your file")).to_be_visible()
    return urlpath(maker.page.url)


def _sheet() -> bytes:
    """The brand's answers as people keep them: semicolons, Windows-1252, copies, gaps."""
    lines = (SAMPLES / "brand_voice" / "examples.jsonl").read_text("utf-8").splitlines()
    rows = [list(json.loads(line).values())[:2] for line in lines]
    faults = [rows[3], rows[17], ["Do you gift-wrap?", ""], ["", "We are closed on Mondays."]]
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows([["Question", "Answer"], *rows, *faults])
    return out.getvalue().encode("cp1252")


def _wait_for_a_curve(page: Page) -> None:
    """Until the training has been checked a few times, and is still under way."""
    expect(page.locator(".chart__svg:visible .chart__point").nth(2)).to_be_visible(
        timeout=TRAINING_MS
    )


def _ask(maker: Maker, project: str) -> None:
    maker.go(f"{project}/chat")
    first, *others = QUESTIONS
    maker.page.locator("textarea[name=question]").fill(first)
    maker.press("Ask")
    maker.page.wait_for_url("**/chat/*")
    maker.answers()
    for question in others:
        maker.ask(question)


def _take(page: Page, file: Path) -> None:
    """Take what is on the screen; a picture that is too large for a README is an error."""
    page.evaluate("document.activeElement?.blur()")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=file)
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{file} has {size:,} bytes; more than {MOST_BYTES:,} is too much.")
    print(f"{os.path.relpath(file)}: {size:,} bytes")


def _take_every_page(house: House, first: tuple[str, ...], folder: Path) -> None:
    for scheme in ("light", "dark"):
        for size in SIZES:
            suffix = f"{size['width']}-{scheme}"
            with house.maker(viewport=size, color_scheme=scheme) as maker:
                for path in crawl(maker, first):
                    _take_whole(maker.page, folder / f"{_file_name(path)}-{suffix}.png")
            with maker_at(house.browser, house.url, viewport=size, color_scheme=scheme) as visitor:
                for path in ("/login", "/nowhere", "/setup/used"):
                    visitor.go(path)
                    _take_whole(visitor.page, folder / f"{_file_name(path)}-{suffix}.png")


def _take_whole(page: Page, file: Path) -> None:
    page.screenshot(path=file, full_page=True)


def _file_name(path: str) -> str:
    name = kind_of(path).replace("*", "one")
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "home"


def urlpath(url: str) -> str:
    return re.sub(r"^https?://[^/]+", "", url).split("#", maxsplit=1)[0]


if __name__ == "__main__":
    main()
