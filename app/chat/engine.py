"""A client of the OpenAI chat protocol: the built-in chat server, or another one in its place.

Nothing here depends on who serves it. The built-in server adds a "tailor" object that says what
really answered; where it is missing, the stamp says only what the protocol says.
"""

import json
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

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


@dataclass(frozen=True)
class Loading:
    """The model is being loaded."""


@dataclass(frozen=True)
class Piece:
    text: str
    stamp: Stamp


@dataclass(frozen=True)
class Ending:
    reason: str
    """stop or length."""
    stamp: Stamp


EngineEvent = Loading | Piece | Ending


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

    def ask(self, question: Question) -> Generator[EngineEvent, None, None]:
        """Yield the answer piece by piece; closing the iterator stops the server's work.

        Raises:
            DomainError: one of this concept's, if the answer does not come or breaks off.
        """
        headers = {"Authorization": f"Bearer {self._token()}"}
        with httpx.Client(
            base_url=self._base_url, headers=headers, timeout=_TIMEOUT, trust_env=False
        ) as client:
            yield from self._ask(client, question, may_load_adapter=True)

    def _ask(
        self, client: httpx.Client, question: Question, *, may_load_adapter: bool
    ) -> Iterator[EngineEvent]:
        begun = False
        try:
            with client.stream("POST", "/v1/chat/completions", json=_body(question)) as response:
                if response.status_code == 200:
                    for event in _events(response.iter_lines()):
                        begun = begun or isinstance(event, Piece)
                        yield event
                    return
                response.read()
            is_unknown = response.status_code == 404 and question.adapter_folder is not None
            if is_unknown and may_load_adapter and _load_adapter(client, question):
                yield from self._ask(client, question, may_load_adapter=False)
                return
            raise _refusal(response)
        except httpx.HTTPError as error:
            logger.warning("the chat server at %s: %r", self._base_url, error)
            raise (BrokenOffError() if begun else EngineAwayError()) from error


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
        if line.startswith(": loading"):
            yield Loading()
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
                yield Ending(reason, stamp)
    if not ended:
        raise BrokenOffError


def _stamp(chunk: dict[str, Any]) -> Stamp:
    tailor = chunk.get("tailor") or {}
    return Stamp(
        model=str(chunk.get("model", "")),
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
    return client.post("/v1/load_lora_adapter", json=request).status_code == 200
