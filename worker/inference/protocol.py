"""The OpenAI chat-completions protocol: what is understood, and what is answered."""

import json
import time
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.inference.catalogue import ModelReference
from worker.inference.errors import ChatServerError, bad_request
from worker.inference.generation import Finished
from worker.inference.kinds import as_json
from worker.training.examples import Message

DONE = b"data: [DONE]\n\n"


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None
    """null stands for an answer of which nothing came."""

    @model_validator(mode="after")
    def _people_say_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("the content is missing")
        return self

    def plain(self) -> Message:
        content = self.content or ""
        if not isinstance(content, str):
            content = "\n".join(part.text for part in content)
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ResponseFormat(BaseModel):
    type: Literal["text"]


class ChatRequest(BaseModel):
    """A request. What cannot be honoured is refused; what changes nothing is passed over."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    tools: list[Any] | None = Field(default=None, max_length=0)
    functions: list[Any] | None = Field(default=None, max_length=0)
    presence_penalty: float | None = Field(default=None, ge=0.0, le=0.0)
    frequency_penalty: float | None = Field(default=None, ge=0.0, le=0.0)

    @model_validator(mode="after")
    def _few_stop_words(self) -> Self:
        if len(self.stop_words) > 4:
            raise ValueError("at most 4 stop words")
        return self

    @property
    def stop_words(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request's body.

        Raises:
            ChatServerError: 400 with a sentence for the first thing that cannot be used.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            name = f"“{place}”" if place else "The request"
            raise bad_request(
                f"{name} cannot be used: {problem['msg'].removeprefix('Value error, ')}.",
                param=place or None,
            ) from error


class Answer:
    """Builds the response's objects; each is stamped with what really answered."""

    def __init__(self, reference: ModelReference, turns_left_out: int) -> None:
        self._common: dict[str, Any] = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": int(time.time()),
            "model": reference.name,
            "system_fingerprint": reference.system_fingerprint,
            "tailor": {**reference.stamp(), "turns_left_out": turns_left_out},
        }

    def whole(self, text: str, end: Finished) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end.reason}
        return {
            **self._stamped(end),
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage(end),
        }

    def beginning(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""}, None)

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text}, None)

    def ending(self, end: Finished) -> dict[str, Any]:
        return {**self._chunk({}, end.reason), **self._stamped(end)}

    def usage(self, end: Finished) -> dict[str, Any]:
        return {**self._chunk({}, None), "choices": [], "usage": usage(end)}

    def _stamped(self, end: Finished) -> dict[str, Any]:
        """Add the kinds of a text that was sorted, with their scores, the surest first."""
        if not end.kinds:
            return self._common
        return {**self._common, "tailor": {**self._common["tailor"], "kinds": as_json(end.kinds)}}

    def _chunk(self, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


def usage(end: Finished) -> dict[str, int]:
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    }


def event(content: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def model_object(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tailor"}


def comment(state: str) -> bytes:
    """Return a sign of life that clients of the protocol pass over, and our pages read."""
    return f": {state}\n\n".encode()


def error_event(error: ChatServerError) -> bytes:
    return event(error.body())
