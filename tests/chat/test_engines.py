"""The pages' side of the protocol: an engine that is away, and one that is not ours."""

import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_IMODE

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.chat.engine import ChatEngine, Ending, Piece, Question
from app.chat.errors import BrokenOffError, EngineAwayError, EngineFaultError
from app.chat.inference_token import ensure_inference_token
from app.settings import Settings
from app.storage.folders import Storage
from tests.support.serving import free_port, served
from tests.support.web import OWNER, running_web

QUESTION = Question(
    "run", [{"role": "user", "content": "Hello."}], 0.0, 16, Path("/data/runs/run/adapter")
)


class OtherEngine:
    """An engine as others build it: no "tailor" object, adapters loaded on request."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.breaks_off = False
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
            ]
        )

    async def load(self, request: Request) -> Response:
        body = await request.json()
        self.adapters[body["lora_name"]] = body["lora_path"]
        return Response("Success")

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        if body["model"] not in self.adapters:
            error = {"message": "The model does not exist.", "code": 404}
            return JSONResponse({"error": error}, status_code=404)
        return StreamingResponse(self.pieces(), media_type="text/event-stream")

    async def pieces(self) -> AsyncIterator[str]:
        for text in ("Good ", "day."):
            choice = {"delta": {"content": text}, "finish_reason": None}
            yield f"data: {json.dumps({'model': 'run', 'choices': [choice]})}\n\n"
        if not self.breaks_off:
            ending = {"delta": {}, "finish_reason": "stop"}
            yield f"data: {json.dumps({'model': 'run', 'choices': [ending]})}\n\n"
            yield "data: [DONE]\n\n"


@pytest.fixture
def other() -> OtherEngine:
    return OtherEngine()


@pytest.fixture
def client(other: OtherEngine) -> Iterator[ChatEngine]:
    with served(other.app, free_port()) as url:
        yield ChatEngine(url, lambda: "token")


def test_another_engine_is_asked_to_load_the_adapter(
    client: ChatEngine, other: OtherEngine
) -> None:
    events = list(client.ask(QUESTION))
    assert other.adapters == {"run": "/data/runs/run/adapter"}
    assert "".join(e.text for e in events if isinstance(e, Piece)) == "Good day."
    assert isinstance(events[-1], Ending)
    assert events[-1].stamp.adapter_sha256 is None


def test_an_answer_that_breaks_off_is_no_answer(client: ChatEngine, other: OtherEngine) -> None:
    other.breaks_off = True
    with pytest.raises(BrokenOffError):
        list(client.ask(QUESTION))


def test_what_another_engine_says_is_kept_as_details(client: ChatEngine) -> None:
    question = Question("nobody", QUESTION.messages, 0.0, 16)
    with pytest.raises(EngineFaultError) as caught:
        list(client.ask(question))
    assert caught.value.details == "The model does not exist."


def test_an_engine_that_is_away() -> None:
    with pytest.raises(EngineAwayError):
        list(ChatEngine(f"http://127.0.0.1:{free_port()}", lambda: "token").ask(QUESTION))


def test_the_page_says_that_the_engine_is_away_and_keeps_the_question(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with running_web(database_url, tmp_path / "data", monkeypatch, inference_url=address) as web:
        project = web.project()
        with web.transaction() as session:
            session.merge(project).base_model_id = "starter"
        browser = web.client_for(OWNER)
        answer = browser.submit(f"/projects/{project.id}/chat", {"question": "Are you there?"})
        page = browser.page(answer.headers["location"].partition("#")[0])
    assert "The chat server is not running, or it is starting again." in page
    assert "Are you there?" in page
    assert "Ask again" in page


def test_what_another_engine_says_stands_in_the_log_and_on_no_makers_page(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: OtherEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        served(other.app, free_port()) as address,
        running_web(database_url, tmp_path / "data", monkeypatch, inference_url=address) as web,
    ):
        project = web.project()
        with web.transaction() as session:
            session.merge(project).base_model_id = "starter"
        browser = web.client_for(OWNER)
        answer = browser.submit(f"/projects/{project.id}/chat", {"question": "Are you there?"})
        page = browser.page(answer.headers["location"].partition("#")[0])
    assert "what the server said stands in the log" in page
    assert "The model does not exist." not in page
    assert "The model does not exist." in caplog.text


def test_everyone_gets_the_same_token_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    settings, storage = Settings(data_dir=tmp_path), Storage(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: ensure_inference_token(settings, storage), range(64)))
    assert len(tokens) == 1
    assert len(tokens.pop()) >= 32
    files = list((tmp_path / "keys").iterdir())
    assert [file.name for file in files] == ["inference.token"]
    assert S_IMODE(files[0].stat().st_mode) == 0o600
