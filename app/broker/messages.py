"""What a message of ours looks like. Nothing else is handed to Celery, which trusts its broker."""

import base64
import binascii
import json
from typing import Any


class GarbageMessageError(Exception):
    """Something in the queue is not one of our messages; the text says why."""


def checked_message(message: object) -> dict[str, Any]:
    """Return the message if it is a call of a task with ids, as Celery itself writes it.

    Raises:
        GarbageMessageError: if it is anything else.
    """
    if not isinstance(message, dict):
        raise GarbageMessageError("it is not an object")
    _check_envelope(message)
    _check_body(message.get("body"))
    return message


def _check_envelope(message: dict[str, Any]) -> None:
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        raise GarbageMessageError("headers or properties are missing")
    if message.get("content-type") != "application/json":
        raise GarbageMessageError("it is not JSON")
    if message.get("content-encoding") != "utf-8":
        raise GarbageMessageError("it is not UTF-8")
    if not all(isinstance(headers.get(name), str) for name in ("id", "task")):
        raise GarbageMessageError("it names no task")
    if properties.get("body_encoding") != "base64":
        raise GarbageMessageError("its body is not base64")
    if not isinstance(properties.get("delivery_tag"), str):
        raise GarbageMessageError("it has no delivery tag")
    if not isinstance(properties.get("delivery_info"), dict):
        raise GarbageMessageError("it has no delivery information")


def _check_body(body: object) -> None:
    if not isinstance(body, str):
        raise GarbageMessageError("its body is not text")
    try:
        decoded = json.loads(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise GarbageMessageError(f"its body cannot be read: {error}") from error
    match decoded:
        case [list() as arguments, dict(), dict() | None] if all(
            isinstance(argument, str) for argument in arguments
        ):
            return
        case _:
            raise GarbageMessageError("its body is no call with ids")
