"""Every page: for everybody, by keyboard, on a phone, in both themes, and nothing executed."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.crawling import crawl
from tests.support.house import House
from tests.support.maker import Maker, maker_at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1200),
]

CANARY = "<img src=x onerror=alert(1)><script>alert(2)</script>"
"""Shown as it is typed, or executed: then a dialog opens, and the visitor complains."""

_HOSTILE = "Question,Answer\n" + "".join(
    f'"{CANARY} {number}?","<b onmouseover=alert(3)>Answer</b> {number} {{{{ 7*7 }}}}"\n'
    for number in range(3)
)
_PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8

# Words that only a program says. (“None yet” is English.)
_SLIPS = re.compile(
    r"Traceback|object at 0x|jinja2|sqlalchemy|\bundefined\b|\bUndefined\b|\bNaN\b|\bnull\b"
    r"|\bNone\b(?! (yet|is|are|was|were|of|can|were)\b)|\{\{|\}\}|&lt;|&amp;|\\n"
)

_FOCUS = """() => {
  const focused = document.activeElement;
  const isShown = (element) => {
    const style = getComputedStyle(element);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0)
      || style.boxShadow !== "none";
  };
  let place = focused;
  for (let level = 0; place && level < 3 && !isShown(place); level++) place = place.parentElement;
  return {
    name: focused.outerHTML.slice(0, 200),
    isPrimary: focused.classList.contains("button--primary"),
    isBody: focused === document.body,
    isShown: Boolean(place && isShown(place)),
  };
}"""
_MOST_TABS = 120
# Its letters are no UTF-8, so its page asks whether they look wrong.
_GUESSED = "Frage;Antwort\nWer?;Wir.\nWo?;Schön hier.\n".encode("cp1252")


@pytest.fixture(scope="module")
def furnished(embedded: House) -> tuple[House, tuple[str, ...]]:
    """A Tailor with something on every page, and where a look around begins."""
    project, run = embedded.trained_sample()
    with embedded.maker() as maker:
        maker.go(f"{project}/chat")
        maker.page.locator("textarea[name=question]").fill(CANARY)
        maker.press("Ask")
        maker.page.wait_for_url("**/chat/*")
        maker.answers()
        hostile = maker.new_project(CANARY)
        imports = [
            _upload(maker, hostile, f"{CANARY.replace('/', '')}.csv", _HOSTILE.encode(), "Import"),
            _upload(maker, hostile, "left.csv", _GUESSED, ""),
            _upload(maker, hostile, "picture.csv", _PICTURE, ""),
        ]
        empty = maker.new_project("Nothing in it")
    start = ("/", project, run, hostile, f"{hostile}/examples", *imports, f"{empty}/examples")
    return embedded, (*start, f"{empty}/training", f"{empty}/chat", f"{empty}/versions")


def _upload(maker: Maker, project: str, name: str, content: bytes, then_press: str) -> str:
    maker.upload(project, {"name": name, "mimeType": "text/csv", "buffer": content})
    if then_press:
        maker.press(then_press)
        expect(maker.page.get_by_role("heading", name="What became of your file")).to_be_visible()
    return maker.page.url.removeprefix(maker.url)


def test_every_page_is_for_everybody(furnished: tuple[House, tuple[str, ...]]) -> None:
    house, start = furnished
    found = []
    with house.maker(viewport={"width": 1280, "height": 900}) as maker:
        for path in crawl(maker, start):
            found += [f"{path}: {problem}" for problem in _problems(maker.page)]
    assert found == []


def test_the_doors_are_for_everybody(embedded: House) -> None:
    with embedded.maker() as maker:
        maker.go("/people")
        maker.page.get_by_label("E-mail address").fill("new@example.org")
        maker.press("Make the link")
        invitation = maker.page.locator("main").inner_text()
    link = re.search(r"http\S+/invitation/\S+", invitation)
    assert link is not None
    found = []
    with maker_at(embedded.browser, embedded.url) as visitor:
        for path in (
            "/login",
            link.group(),
            "/setup/used-long-ago",
            "/reset/never-was",
            "/nowhere",
        ):
            visitor.go(path)
            found += [f"{path}: {problem}" for problem in _problems(visitor.page)]
        assert visitor.complaints == []
    assert found == []


def test_what_people_typed_is_shown_and_never_executed(
    furnished: tuple[House, tuple[str, ...]],
) -> None:
    house, start = furnished
    hostile = start[3]
    with house.maker() as maker:
        for path in (hostile, f"{hostile}/examples", start[5]):
            maker.go(path)
            expect(maker.page.locator("main")).to_contain_text("<img src=x onerror=alert(1)>")
            assert maker.page.locator("main img, main script, main [onmouseover]").count() == 0
        maker.go(f"{hostile}/examples")
        expect(maker.page.locator("main")).to_contain_text("<b onmouseover=alert(3)>Answer</b> 1")
        expect(maker.page.locator("main")).to_contain_text("{{ 7*7 }}")


def _problems(page: Page) -> Iterator[str]:
    """Everything that is wrong with the page that is open."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                nodes = [node["html"][:160] for node in violation["nodes"][:3]]
                yield f"{scheme}: {violation['id']}: {nodes}"
    page.emulate_media(color_scheme="light")
    if slip := _SLIPS.search(page.locator("body").inner_text().replace("{{ 7*7 }}", "")):
        yield f"the page says {slip.group()!r}"
    if page.locator("h1").count() != 1:
        yield f"{page.locator('h1').count()} headings of the first level"
    if page.locator(".button--primary:visible").count() > 1:
        yield "more than one primary button"
    yield from _on_a_phone(page)
    yield from _by_keyboard(page)


def _on_a_phone(page: Page) -> Iterator[str]:
    size = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > 390:
        yield f"is {width} px wide on a phone"
    assert size is not None
    page.set_viewport_size(size)


def _by_keyboard(page: Page) -> Iterator[str]:
    """Tab from the top: every stop is seen, and the primary button is among them."""
    has_primary = page.locator(".button--primary:visible:not([disabled])").count() > 0
    page.evaluate("document.activeElement?.blur(); window.getSelection().removeAllRanges()")
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUS)
        if stop["isBody"]:
            break
        if not stop["isShown"]:
            yield f"the focus cannot be seen on {stop['name']}"
        if stop["isPrimary"]:
            return
    if has_primary:
        yield "the primary button is not reached by keyboard"
