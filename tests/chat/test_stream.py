"""What a browser is sent while an answer is being written."""

import json
from typing import Any

from starlette.requests import Request

from app.chat.engine import Question
from app.chat.live import LiveReply
from app.chat.replies import ReplyKey, ReplyPlan
from app.web.chat_stream import turn_events
from tests.support.asynchronous import run_in_thread


def test_what_turns_out_to_be_a_thought_is_taken_back() -> None:
    question = Question(model="starter", messages=[], temperature=0.0, max_tokens=16)
    reply = LiveReply(ReplyPlan(ReplyKey("turn", "base"), "conversation", 1, question, "Starter"))

    async def shown_after_each() -> list[str]:
        stream = turn_events(Request({"type": "http"}), "project", {"base": reply}, {"base": 0})
        shown, seen = "", []
        for text in ("They ask for", "They ask for tea.</think>\n\nYes", "…</think>\n\nYes, hot."):
            reply.update(state="writing", text=text)
            news = await _next_text(stream)
            shown = news["text"] if news["begins_anew"] else shown + news["text"]
            seen.append(shown)
        await stream.aclose()  # type: ignore[attr-defined]
        return seen

    assert run_in_thread(shown_after_each()) == ["They ask for", "Yes", "Yes, hot."]


async def _next_text(stream: Any) -> Any:  # noqa: ANN401 (an async generator; JSON)
    async for event in stream:
        if event.startswith("event: text"):
            return json.loads(event.partition("data: ")[2])
    raise AssertionError("The stream ended without a text.")
