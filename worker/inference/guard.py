"""Who may ask, and how much may be sent: checked before anything is read."""

import hmac

from starlette.requests import Request

from worker.inference.errors import ChatServerError

MOST_BODY_BYTES = 1024 * 1024


def check_token(request: Request, token: str) -> None:
    """Raise a 401 error unless the request carries the shared secret."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise ChatServerError(
            401,
            "invalid_api_key",
            "The request does not carry the chat server's token. It stands in the data folder's "
            "keys/inference.token; send it as “Authorization: Bearer …”.",
        )


async def read_body(request: Request) -> bytes:
    """Return the body, never holding more of it than the limit.

    Raises:
        ChatServerError: 413 if it is larger.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ChatServerError:
    return ChatServerError(
        413,
        "request_too_large",
        f"The conversation is larger than {MOST_BODY_BYTES // 1024 // 1024} MB. "
        "Begin a new conversation or send a shorter text.",
    )
