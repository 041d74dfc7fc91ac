"""The whole way: from the set-up link to adapter files that plain peft loads, in a real browser."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.support.house import House
from tests.support.maker import Maker

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# Everything that the run's page shows while it is left alone, noted by the page itself.
_WATCH = """() => {
  const run = document.getElementById("run");
  window.seen = { phases: [], values: [], stats: [], points: 0, answers: [] };
  const note = (list, text) => { if (text && !list.includes(text)) list.push(text); };
  const look = () => {
    note(window.seen.phases, run.querySelector("h2")?.textContent);
    const bar = run.querySelector("[role=progressbar]");
    note(window.seen.values, bar?.getAttribute("aria-valuenow"));
    for (const stat of run.querySelectorAll(".stat")) note(window.seen.stats, stat.textContent);
    window.seen.points = Math.max(window.seen.points, run.querySelectorAll(".chart__point").length);
    for (const answer of run.querySelectorAll("article[id^=sample-]")) {
      note(window.seen.answers, answer.textContent);
    }
  };
  look();
  new MutationObserver(look).observe(run, { childList: true, subtree: true, attributes: true });
}"""

# A spreadsheet as people have them: semicolons, Windows-1252, a stray column, blanks, a copy, gaps.
_ROW = (
    "{number};Wie lange läuft Tarif {number}?;Grüß Gott, Tarif {number} läuft {number} Monate "
    "und kostet {number},50 € – ganz ohne Gebühren.\r\n"
)
_SHEET = (
    ["Nr.; Frage ;Antwort\r\n"]
    + [_ROW.format(number=number) for number in range(1, 31)]
    + [
        _ROW.format(number=1),
        "32;Was kostet Tarif 99?;\r\n",
        "33;;Eine Antwort ohne Frage\r\n",
        '34;Und „Österreich“?;"Ja; auch dort.\r\nMit Gruß"\r\n',
    ]
)


def test_from_a_sample_to_files_that_plain_peft_loads(house: House, tmp_path: Path) -> None:
    with house.maker(viewport={"width": 1280, "height": 900}) as maker:
        project = maker.try_sample("brand_voice")
        maker.start_training(project)
        seen = _watched_to_the_end(maker)
        _it_was_live(seen)
        _the_steps_know_that_it_is_over(maker.page)
        _it_says_what_came_of_it(maker.page)
        answers, digest = _ask_both(maker)
        folder = _download(maker, project, tmp_path)
        adapter = (folder / "adapter_model.safetensors").read_bytes()
        assert hashlib.sha256(adapter).hexdigest().startswith(digest)
        for question, answer in answers.items():
            assert _answer_of_plain_peft(folder, question) == answer


def _watched_to_the_end(maker: Maker) -> dict[str, Any]:
    maker.page.evaluate(_WATCH)
    maker.wait_for_the_end()
    seen: dict[str, Any] = maker.page.evaluate("window.seen")
    return seen


def _it_was_live(seen: dict[str, Any]) -> None:
    assert "Learning from your examples" in seen["phases"]
    assert seen["phases"][-1] == "Finished"
    assert len(seen["values"]) >= 3, "the progress bar moved"
    assert any("tokens a second" in text for text in seen["stats"])
    assert any("Memory" in text for text in seen["stats"])
    assert seen["points"] >= 2, "the curve of the held-out examples grew"
    assert len(seen["answers"]) > 3, "three questions were answered afresh as it learned"


def _the_steps_know_that_it_is_over(page: Page) -> None:
    step = page.locator(".stepper li", has_text="Try it")
    expect(step).to_contain_text("next to do")
    expect(page.locator(".stepper")).not_to_contain_text("on its way")


def _it_says_what_came_of_it(page: Page) -> None:
    result = page.locator("#run .notice").first
    expect(result).to_contain_text(re.compile(r"[\d.]+ times less surprising than before"))
    before, after = (
        float(
            page.locator(".stat", has_text=f"Surprise {when}").locator(".stat__value").inner_text()
        )
        for when in ("before", "after")
    )
    assert after < before / 1.5


def _ask_both(maker: Maker) -> tuple[dict[str, str], str]:
    """Ask two questions; return the tuned answers and the beginning of the adapter's digest."""
    page = maker.page
    maker.follow("Try it")
    page.wait_for_url("**/chat**")
    first = "Do you open on Sundays?"
    maker.press(first)
    page.wait_for_url("**/chat/*")
    found = {first: maker.answers()}
    second = "Can I return a mug?"
    maker.follow("New conversation")
    page.wait_for_url("**/chat")
    page.locator("textarea[name=question]").fill(second)
    maker.press("Ask")
    page.wait_for_url("**/chat/*")
    found[second] = maker.answers()
    for texts in found.values():
        assert texts["base"]
        assert texts["tuned"]
        assert texts["tuned"] != texts["base"]
    base, tuned = (
        page.locator(f".answer--{side} [data-answer-stamp]").last.inner_text()
        for side in ("base", "tuned")
    )
    assert base.startswith("Tailor Starter")
    assert tuned.startswith("Version 1 on Tailor Starter")
    digest = page.locator(".answer--tuned .stamp code").last.inner_text()
    assert re.fullmatch(r"[0-9a-f]{12}", digest)
    assert digest not in base
    return {question: texts["tuned"] for question, texts in found.items()}, digest


def _download(maker: Maker, project: str, folder: Path) -> Path:
    maker.go(f"{project}/versions/1")
    with maker.page.expect_download() as download:
        maker.follow("Download")
    assert re.fullmatch(r"[a-z-]+-v1\.zip", download.value.suggested_filename)
    file = folder / "version.zip"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


def _answer_of_plain_peft(folder: Path, question: str) -> str:
    """Ask the downloaded files in a fresh process that cannot see Tailor."""
    told = subprocess.run(
        [sys.executable, "-P", "use_it.py", question],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_from_a_messy_spreadsheet_to_examples(house: House) -> None:
    with house.maker(viewport={"width": 1280, "height": 900}) as maker:
        project = maker.new_project("Tarife")
        sheet: FilePayload = {
            "name": "Kunden <b> & Co.csv",
            "mimeType": "text/csv",
            "buffer": "".join(_SHEET).encode("cp1252"),
        }
        maker.upload(project, sheet)
        _confirm_the_columns(maker)
        _read_the_report(maker.page)
        _search_edit_delete(maker, project)


def _confirm_the_columns(maker: Maker) -> None:
    page = maker.page
    expect(page.get_by_role("heading", name="Is this right?")).to_be_visible()
    expect(page.locator(".page-head__lead")).to_contain_text("Kunden <b> & Co.csv")
    expect(page.locator(".page-head__lead")).to_contain_text("semicolon")
    expect(page.locator(".page-head__lead")).to_contain_text("Windows-1252")
    expect(page.get_by_label("Frage")).to_have_value("question")
    expect(page.get_by_label("Antwort")).to_have_value("answer")
    expect(page.get_by_label("Nr.")).to_have_value("ignore")
    expect(page.locator("main")).to_contain_text("Tarif 1 läuft 1 Monate")
    maker.press("Show preview")
    expect(page.get_by_label("Antwort")).to_have_value("answer")
    maker.press("Import")


def _read_the_report(page: Page) -> None:
    expect(page.get_by_role("heading", name="What became of your file")).to_be_visible(
        timeout=120_000
    )
    numbers = {
        stat: page.locator(".stat", has_text=stat).inner_text()
        for stat in ("Added", "Exact copies", "Left out")
    }
    assert "31" in numbers["Added"]
    assert "1" in numbers["Exact copies"]
    assert "2" in numbers["Left out"]
    rows = page.get_by_role("table").locator("tbody tr")
    expect(rows.filter(has_text="Was kostet Tarif 99?")).to_have_count(1)
    expect(rows.filter(has_text="Eine Antwort ohne Frage")).to_have_count(1)


def _search_edit_delete(maker: Maker, project: str) -> None:
    page = maker.page
    maker.go(f"{project}/examples")
    expect(page.get_by_role("heading", name="31 examples")).to_be_visible()
    page.get_by_label("Search").fill("Tarif 17")
    maker.press("Show")
    expect(page.locator("main")).to_contain_text("1 example with “Tarif 17”")
    page.get_by_role("link", name=re.compile("^Edit")).click()
    page.get_by_label("Answer").fill("Grüß Gott, Tarif 17 gibt es nicht mehr.")
    maker.press("Save")
    maker.go(f"{project}/examples?search=nicht+mehr")
    expect(page.locator("main")).to_contain_text("Tarif 17 gibt es nicht mehr.")
    page.get_by_role("link", name=re.compile("^Edit")).click()
    page.get_by_text("Delete this example").click()
    maker.press("Delete the example")
    maker.go(f"{project}/examples")
    expect(page.get_by_role("heading", name="30 examples")).to_be_visible()
