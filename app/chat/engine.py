"""A client of the OpenAI chat protocol: the built-in chat server, or another one in its place.

Nothing here depends on who serves it. The built-in server adds a "tailor" object that says what
really answered; where it is missing, the stamp says only what the protocol says.
"""

import json
import logging
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, cast, get_args

import httpx

from app.chat.cancellation import Cancellation
from app.chat.errors import (
    BrokenOffError,
    EngineAwayError,
    EngineFaultError,
    EngineRefusedError,
)
from app.errors import DomainError

logger = logging.getLogger(__name__)

_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=180.0, write=30.0, pool=5.0)
_LONGEST_DETAILS: Final = 2000
_LONGEST_MODEL_NAME: Final = 200
_MOST_KINDS_KEPT: Final = 20
_LONGEST_WAIT_FOR_A_PLACE_SECONDS: Final = 60.0
_SHORTEST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
Message = dict[str, str]


@dataclass(frozen=True)
class Question:
    """One question to one model.

    Attributes:
        model: a base model's id or a run's id.
        adapter_folder: the run's adapter, for servers that load adapters on request.
    """

    model: str
    messages: Sequence[Message]
    temperature: float
    max_tokens: int
    adapter_folder: Path | None = None


@dataclass(frozen=True)
class Stamp:
    """What really answered, as the server said it."""

    model: str
    base_fingerprint: str = ""
    adapter_sha256: str | None = None
    turns_left_out: int = 0


WaitingState = Literal["queued", "loading", "held"]


@dataclass(frozen=True)
class Waiting:
    """Nothing is written yet: others come first, the model is loaded, or its memory is needed."""

    state: WaitingState


@dataclass(frozen=True)
class Piece:
    text: str
    stamp: Stamp


class KindShare(TypedDict):
    """How sure the model is of a kind, from 0 to 1."""

    kind: str
    score: float


@dataclass(frozen=True)
class Ending:
    reason: str
    """stop or length."""
    stamp: Stamp
    kinds: tuple[KindShare, ...] = ()
    """Of a text that was sorted: its kinds with their scores, the surest first."""


EngineEvent = Waiting | Piece | Ending


class ChatEngine:
    """Asks questions and yields the answers as they are written."""

    def __init__(self, base_url: str, token: Callable[[], str]) -> None:
        """Prepare a client.

        Args:
            base_url: of the server, without /v1.
            token: gives the shared secret; asked late, because the server may make it.
        """
        self._base_url = base_url
        self._token = token

    def ask(
        self, question: Question, cancellation: Cancellation | None = None
    ) -> Generator[EngineEvent, None, None]:
        """Yield the answer piece by piece; closing the iterator stops the server's work.

        A server that has no place free is asked again for a minute.

        Args:
            question: what is asked, and of which model.
            cancellation: ends it from another thread.

        Raises:
            DomainError: one of this concept's, if the answer does not come or breaks off, which a
                cancelled one does too.
        """
        cancellation = cancellation or Cancellation()
        headers = {"Authorization": f"Bearer {self._token()}"}
        deadline = time.monotonic() + _LONGEST_WAIT_FOR_A_PLACE_SECONDS
        may_load_adapter = question.adapter_folder is not None
        with httpx.Client(
            base_url=self._base_url,
            headers=headers,
            timeout=_TIMEOUT,
            verify=_known_authorities(),
            trust_env=False,
        ) as client:
            while True:
                refused = yield from self._try(client, question, cancellation)
                if refused is None:
                    return
                if refused.status_code == 429 and time.monotonic() < deadline:
                    yield Waiting("queued")
                    cancellation.wait(_pause_seconds(refused))
                elif refused.status_code == 404 and may_load_adapter:
                    may_load_adapter = False
                    if not _load_adapter(client, question):
                        raise _refusal(refused)
                else:
                    raise _refusal(refused)

    def _try(
        self, client: httpx.Client, question: Question, cancellation: Cancellation
    ) -> Generator[EngineEvent, None, httpx.Response | None]:
        """Ask once; return the server's refusal, if it refused."""
        begun = False
        request = client.build_request(
            "POST",
            "/v1/chat/completions",
            json=_body(question),
            extensions={"trace": cancellation.trace},
        )
        try:
            if cancellation.is_cancelled:
                raise BrokenOffError
            response = client.send(request, stream=True)
            with closing(response):
                if response.status_code == 200:
                    for event in _events(response.iter_lines()):
                        begun = begun or isinstance(event, Piece)
                        yield event
                    return None
                response.read()
                return response
        except httpx.HTTPError as error:
            logger.warning("the chat server at %s: %r", self._base_url, error)
            raise (BrokenOffError() if begun else EngineAwayError()) from error


@cache
def _known_authorities() -> ssl.SSLContext:
    """Whom an encrypted connection trusts; reading them for each question took 20 ms of it."""
    return httpx.create_ssl_context()


def _body(question: Question) -> dict[str, Any]:
    return {
        "model": question.model,
        "messages": list(question.messages),
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "stream": True,
    }


def _events(lines: Iterator[str]) -> Iterator[EngineEvent]:
    """Read server-sent events.

    Raises:
        EngineFaultError: for an error in the stream without a sentence of our own server.
        BrokenOffError: if the stream ends before the answer does.
    """
    ended = False
    for line in lines:
        if (state := line.removeprefix(": ")) in get_args(WaitingState):
            yield Waiting(cast("WaitingState", state))
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        chunk = json.loads(data)
        if "error" in chunk:
            raise _explained(chunk["error"])
        stamp = _stamp(chunk)
        for choice in chunk.get("choices", ()):
            if text := (choice.get("delta") or {}).get("content"):
                yield Piece(text, stamp)
            if reason := choice.get("finish_reason"):
                ended = True
                yield Ending(reason, stamp, _kinds(chunk))
    if not ended:
        raise BrokenOffError


def _kinds(chunk: dict[str, Any]) -> tuple[KindShare, ...]:
    said = (chunk.get("tailor") or {}).get("kinds") or ()
    return tuple(
        KindShare(kind=str(entry["kind"])[:_LONGEST_MODEL_NAME], score=float(entry["score"]))
        for entry in said[:_MOST_KINDS_KEPT]
    )


def _pause_seconds(refused: httpx.Response) -> float:
    """Return after how long it is worth asking again, as the server says it."""
    said = refused.headers.get("Retry-After", "")
    seconds = float(said) if said.isdecimal() else _SHORTEST_PAUSE_SECONDS
    return min(max(seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _stamp(chunk: dict[str, Any]) -> Stamp:
    tailor = chunk.get("tailor") or {}
    return Stamp(
        model=str(chunk.get("model", ""))[:_LONGEST_MODEL_NAME],
        base_fingerprint=str(tailor.get("base_fingerprint") or ""),
        adapter_sha256=tailor.get("adapter_digest"),
        turns_left_out=int(tailor.get("turns_left_out") or 0),
    )


def _refusal(response: httpx.Response) -> DomainError:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return EngineFaultError(f"HTTP {response.status_code}: {response.text[:_LONGEST_DETAILS]}")
    return _explained(error)


_OUR_CODES: Final = frozenset(
    {
        "context_length_exceeded",
        "invalid_request",
        "model_changed",
        "model_not_found",
        "model_not_loadable",
        "out_of_memory",
        "request_too_large",
        "too_many_requests",
        "unexpected",
    }
)


def _explained(error: object) -> DomainError:
    """Return the server's own sentence if it is one for people, else keep it as details."""
    if not isinstance(error, dict):
        return EngineFaultError(str(error)[:_LONGEST_DETAILS])
    message = str(error.get("message", ""))[:_LONGEST_DETAILS]
    if error.get("code") in _OUR_CODES:
        return EngineRefusedError(message)
    return EngineFaultError(message)


def _load_adapter(client: httpx.Client, question: Question) -> bool:
    """Ask a server such as vLLM to load the adapter; see docs/decisions on other engines."""
    request = {"lora_name": question.model, "lora_path": str(question.adapter_folder)}
    try:
        return client.post("/v1/load_lora_adapter", json=request).status_code == 200
    except httpx.HTTPError as error:
        raise EngineAwayError from error
