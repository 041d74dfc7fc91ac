"""A person at a real browser: goes to a running Tailor, and does what its pages offer.

Every method finds things as a person does, by the words on the page. Whatever the browser
complains about meanwhile is kept in `complaints`, which a test asserts to be empty.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    FilePayload,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

NAME = "Ada Makers"
EMAIL = "ada@example.org"
PASSWORD = "cloth pattern needle spool"

PATIENCE_MS = 30_000
"""How long a page may take on a machine that trains at the same time."""
TRAINING_MS = 600_000
"""How long a training on the starter may take, however busy the machine is."""

expect.set_options(timeout=PATIENCE_MS)

# A page that was refused is shown with its status, which Chromium writes to the console.
_EXPECTED_NOISE = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d"
)


class Maker:
    """One signed-out visitor with a browser context of their own."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.complaints: list[str] = []
        self.is_interrupting = False
        """While a test kills processes, failed requests are what it wants."""
        context.set_default_timeout(PATIENCE_MS)
        context.set_default_navigation_timeout(PATIENCE_MS)
        context.on("request", self._note_request)
        context.on("response", self._note_response)
        context.on("console", self._note_console)
        context.on("dialog", self._note_dialog)
        context.on("weberror", lambda error: self._complain(f"script error: {error.error}"))
        self.page = context.new_page()

    # ---- what the browser complains about ----

    def _complain(self, what: str) -> None:
        if not self.is_interrupting:
            self.complaints.append(what)

    def _note_request(self, request: Request) -> None:
        place = urlsplit(request.url)
        origin = f"{place.scheme}://{place.netloc}"
        if place.scheme not in {"data", "blob"} and origin != self.url:
            self.complaints.append(f"a request left for {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 500:
            self._complain(f"{response.status} for {response.url}")

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _EXPECTED_NOISE.match(message.text):
            self._complain(f"console of {message.page and message.page.url}: {message.text}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"a script opened a dialog: {dialog.message}")
        dialog.dismiss()

    # ---- the way ----

    def go(self, path: str) -> Page:
        self.page.goto(path if path.startswith("http") else self.url + path)
        return self.page

    def press(self, words: str) -> None:
        """Press the button that says this."""
        self.page.get_by_role("button", name=words, exact=True).first.click()

    def follow(self, words: str) -> None:
        """Follow the link that says this."""
        self.page.get_by_role("link", name=words, exact=True).first.click()

    def set_up(self, link: str) -> None:
        """Make the first account by the one-time link."""
        self.go(link)
        self.page.get_by_label("Your name").fill(NAME)
        self.page.get_by_label("Your e-mail address").fill(EMAIL)
        self.page.get_by_label("A password").fill(PASSWORD)
        self.press("Make the account")
        expect(self.page.get_by_text("Tailor is set up")).to_be_visible()

    def sign_in(self) -> None:
        self.go("/login")
        self.page.get_by_label("E-mail address").fill(EMAIL)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.press("Sign in")
        expect(self.page.get_by_role("heading", name="Your projects")).to_be_visible()

    def try_sample(self, slug: str) -> str:
        """Make a sample project; return its path."""
        self.go("/")
        self.page.locator(f"form[action='/projects/samples/{slug}'] button").click()
        self.page.wait_for_url("**/training")
        return urlsplit(self.page.url).path.removesuffix("/training")

    def new_project(self, name: str) -> str:
        """Make an empty project; return its path."""
        self.go("/projects/new")
        self.page.get_by_label("Name").fill(name)
        self.press("Make the project")
        self.page.wait_for_url("**/examples")
        return urlsplit(self.page.url).path.removesuffix("/examples")

    def start_training(self, project: str, preset: str = "Quick", epochs: int = 0) -> str:
        """Start a training, with more passes than the preset's if so many are given.

        Returns:
            The run page's path.
        """
        self.go(f"{project}/training")
        self.page.get_by_role("radio", name=re.compile(f"^{preset}")).check()
        if epochs:
            self.page.get_by_text("Settings for experts").click()
            self.page.locator("input[name=epochs]").fill(str(epochs))
        self.press("Start training")
        self.page.wait_for_url("**/runs/*")
        return urlsplit(self.page.url).path

    def wait_for_the_end(self) -> None:
        """Stay on a run's page until it says by itself that the training is done."""
        done = self.page.get_by_role("link", name="Try it", exact=True)
        failed = self.page.locator("#run .notice--problem")
        expect(done.or_(failed).first).to_be_visible(timeout=TRAINING_MS)
        expect(failed).to_have_count(0)

    def ask(self, question: str) -> dict[str, str]:
        """Ask in the conversation that is open; return the finished answers by side."""
        before = self.page.locator("article.turn").count()
        self.page.locator("textarea[name=question]").fill(question)
        self.press("Ask")
        turn = self.page.locator("article.turn").nth(before)
        return self.answers(turn)

    def answers(self, turn: Locator | None = None) -> dict[str, str]:
        """Wait until the answers of a turn are whole; return their texts by side."""
        turn = turn or self.page.locator("article.turn").last
        expect(turn.locator("[data-turn-state][data-writing='']")).to_be_attached(timeout=120_000)
        texts = {}
        for side in ("base", "tuned"):
            box = turn.locator(f".answer--{side} [data-answer-text]")
            if box.count():
                texts[side] = box.inner_text()
        return texts

    def upload(self, project: str, file: Path | FilePayload) -> None:
        """Choose a file on the examples page; stay until Tailor has read it."""
        self.go(f"{project}/examples")
        self.page.locator("input[type=file]").set_input_files(file)
        self.page.wait_for_url("**/imports/*")
        expect(self.page.get_by_role("heading", name="Reading your file")).to_have_count(
            0, timeout=120_000
        )


@contextmanager
def maker_at(browser: Browser, url: str, **options: Any) -> Iterator[Maker]:  # noqa: ANN401
    """A visitor for the length of a block; options are those of a browser context."""
    context = browser.new_context(base_url=url, **options)
    try:
        yield Maker(context, url)
    finally:
        context.close()
