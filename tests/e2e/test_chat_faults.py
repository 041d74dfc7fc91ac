"""The chat server is killed in the middle of an answer, in a really started Tailor."""

import re
import signal

import pytest
from playwright.sync_api import expect

from tests.support.house import House
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
]

_CHAT_SERVER = r"worker\.inference\.main|app\.cli inference"


def test_a_killed_chat_server_is_said_and_answers_again(embedded: House) -> None:
    with embedded.maker() as maker:
        project = maker.try_sample("brand_voice")
        wait_until(embedded.tailor.chats, timeout=240, what="the chat server to be there")
        maker.go(f"{project}/chat")
        maker.page.get_by_label("Your question").fill("Hello, when are you open?")
        maker.press("Ask")
        maker.page.wait_for_url("**/chat/*")
        assert maker.answers()["base"]
        # It stands still first, so that the question is under way for certain when it dies.
        assert embedded.tailor.kill_matching(_CHAT_SERVER, signal.SIGSTOP)
        maker.page.get_by_label("Your question").fill("And on Sundays?")
        maker.press("Ask")
        turn = maker.page.locator("article.turn").last
        expect(turn.get_by_role("button", name="Stop")).to_be_visible()
        embedded.tailor.kill_matching(_CHAT_SERVER)
        expect(turn.locator(".field__error")).to_contain_text(
            re.compile("The answer (did not come|broke off)")
        )
        maker.page.reload()
        expect(turn.locator(".field__error")).to_be_visible()
        wait_until(embedded.tailor.chats, timeout=240, what="the chat server to be back")
        maker.press("Ask again")
        expect(turn.locator(".field__error")).to_have_count(0)
        assert maker.answers()["base"]
