"""The chat server's HTTP face: the OpenAI protocol over the engine."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from worker.inference.catalogue import Catalogue, ModelReference
from worker.inference.engine import Engine, Slot, WaitingState
from worker.inference.errors import (
    ChatServerError,
    bad_request,
    unexpected,
)
from worker.inference.generation import (
    Broken,
    Event,
    Finished,
    GenerationRequest,
    TextPiece,
)
from worker.inference.guard import check_token, read_body
from worker.inference.prompters import Prompters
from worker.inference.prompts import Prompt, Prompter
from worker.inference.protocol import (
    DONE,
    Answer,
    ChatRequest,
    comment,
    error_event,
    event,
    model_object,
)
from worker.inference.sampling import SamplingSettings
from worker.inference.template_renderer import TemplateRenderer

logger = logging.getLogger(__name__)

_SIGN_OF_LIFE_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 600.0
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class ChatServer:
    """What the routes share."""

    def __init__(self, catalogue: Catalogue, engine: Engine, token: str) -> None:
        self.catalogue = catalogue
        self.engine = engine
        self.token = token
        self.renderer = TemplateRenderer()
        self._prompters = Prompters(self.renderer)

    def prepare(self, request: ChatRequest) -> tuple[ModelReference, Prompter, Prompt]:
        """Find the model and write the conversation down for it. Runs in a thread."""
        reference = self.catalogue.resolve(request.model)
        prompter = self._prompters.get(reference)
        messages = [message.plain() for message in request.messages]
        if reference.sorts:
            return reference, prompter, prompter.text_to_sort(messages, reference.reads_tokens)
        return reference, prompter, prompter.prompt(messages, request.wanted_tokens)


class AnswerStream:
    """The events of one answer, from the engine's thread to this request's coroutine."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._closed = False

    def send(self, event_: Event) -> None:
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event_)

    def start(
        self, request: ChatRequest, reference: ModelReference, prompter: Prompter, prompt: Prompt
    ) -> None:
        sampling = SamplingSettings(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed,
        )
        self._slot.start(
            GenerationRequest(
                reference,
                prompt,
                sampling,
                request.stop_words,
                prompter.stop_ids,
                prompter.decode,
                self.send,
            )
        )

    async def next_event(self) -> Event | None:
        """Return the next event, or None after a second without one."""
        try:
            return await asyncio.wait_for(self._events.get(), _SIGN_OF_LIFE_SECONDS)
        except TimeoutError:
            return None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._slot.give_back()


async def chat_completions(request: Request) -> Response:
    server = _server(request)
    check_token(request, server.token)
    body = await read_body(request)
    chat = ChatRequest.parse(body)
    stream = AnswerStream(server.engine.take_slot())
    try:
        reference, prompter, prompt = await run_sync(server.prepare, chat)
        stream.start(chat, reference, prompter, prompt)
        answer = Answer(reference, prompt.turns_left_out)
        if not chat.stream:
            return await _whole_answer(request, stream, answer)
    except BaseException:
        # Whatever happened, a client that left included, the place is free again.
        stream.close()
        raise
    return _StreamedAnswer(
        _pieces(
            stream,
            answer,
            lambda: server.engine.waiting_state(reference.loads),
            with_usage=chat.wants_usage,
        ),
        media_type="text/event-stream",
        headers=_STREAM_HEADERS,
        on_end=stream.close,
    )


async def _whole_answer(request: Request, stream: AnswerStream, answer: Answer) -> Response:
    pieces: list[str] = []
    while True:
        event_ = await stream.next_event()
        if await request.is_disconnected():
            raise ClientDisconnect
        if isinstance(event_, TextPiece):
            pieces.append(event_.text)
        elif isinstance(event_, Broken):
            raise event_.error
        elif isinstance(event_, Finished):
            stream.close()
            return JSONResponse(answer.whole("".join(pieces), event_))


async def _pieces(
    stream: AnswerStream,
    answer: Answer,
    waiting_state: Callable[[], WaitingState],
    *,
    with_usage: bool,
) -> AsyncIterator[bytes]:
    begun = False
    if (state := waiting_state()) != "queued":
        yield comment(state)
    while True:
        event_ = await stream.next_event()
        if event_ is None:
            yield comment("writing" if begun else waiting_state())
            continue
        if isinstance(event_, Broken):
            yield error_event(event_.error)
            yield DONE
            return
        if not begun:
            begun = True
            yield event(answer.beginning())
        if isinstance(event_, TextPiece):
            yield event(answer.piece(event_.text))
        elif isinstance(event_, Finished):
            yield event(answer.ending(event_))
            if with_usage:
                yield event(answer.usage(event_))
            yield DONE
            return


class _StreamedAnswer(StreamingResponse):
    """A stream that frees its place however it ends, also when the client was never reached."""

    def __init__(self, content: AsyncIterator[bytes], on_end: Any, **rest: Any) -> None:  # noqa: ANN401 (handed on)
        super().__init__(content, **rest)
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's own types)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def list_models(request: Request) -> Response:
    server = _server(request)
    check_token(request, server.token)
    names = await run_sync(server.catalogue.names)
    return JSONResponse({"object": "list", "data": [model_object(name) for name in names]})


async def show_model(request: Request) -> Response:
    server = _server(request)
    check_token(request, server.token)
    reference = await run_sync(server.catalogue.resolve, request.path_params["name"])
    return JSONResponse(model_object(reference.name))


async def release(request: Request) -> Response:
    server = _server(request)
    check_token(request, server.token)
    hold_seconds = _hold_seconds(await read_body(request))
    before = server.engine.releases
    at_once = server.engine.release(hold_seconds)
    # Whoever waits for the memory compares the number with the one in /health.
    body = {"released": at_once, "releases": before}
    return JSONResponse(body, status_code=200 if at_once else 202)


def _hold_seconds(body: bytes) -> float:
    """Return for how long nothing may be loaded after a release; 0 if the request says nothing."""
    try:
        seconds = float(json.loads(body)["hold_seconds"]) if body else 0.0
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request("“hold_seconds” has to be a number.", param="hold_seconds") from error
    return min(max(0.0, seconds), _LONGEST_HOLD_SECONDS)


async def health(request: Request) -> Response:
    engine = _server(request).engine
    alive = engine.is_alive()
    return JSONResponse(
        {
            "status": "ok" if alive else "engine stopped",
            "loaded": engine.loaded_names(),
            "answers": engine.busy(),
            "releases": engine.releases,
        },
        status_code=200 if alive else 503,
    )


def _server(request: Request) -> ChatServer:
    server: ChatServer = request.app.state.server
    return server


async def _known_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChatServerError)  # noqa: S101 (registered for it alone)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 413:
        # The rest of the body is not read, so the connection cannot be used again.
        headers["Connection"] = "close"
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it alone)
    known = ChatServerError(
        error.status_code, "not_found", "The chat server has nothing at this address."
    )
    return JSONResponse(known.body(), status_code=error.status_code, headers=error.headers)


async def _unknown_error(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return JSONResponse(unexpected().body(), status_code=500)


def create_server(catalogue: Catalogue, engine: Engine, token: str) -> Starlette:
    """Return the ASGI application."""
    server = ChatServer(catalogue, engine, token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start()
        server.renderer.start()
        yield
        engine.stop()
        server.renderer.close()

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/v1/models/{name}", show_model, methods=["GET"]),
            Route("/v1/release", release, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={
            ChatServerError: _known_error,
            HTTPException: _http_error,
            Exception: _unknown_error,
        },
        lifespan=lifespan,
    )
    app.state.server = server
    return app
