"""What a caller of the chat server can meet, in the error shape of the OpenAI protocol."""

from typing import Any


class ChatServerError(Exception):
    """A request that cannot be answered, with a sentence that says why and what to do next.

    Attributes:
        status: the HTTP status.
        code: a word for programs.
        retry_after: seconds after which it is worth asking again, if it is.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": "server_error" if self.status >= 500 else "invalid_request_error",
                "param": self.param,
                "code": self.code,
            }
        }


def bad_request(message: str, param: str | None = None) -> ChatServerError:
    return ChatServerError(400, "invalid_request", message, param=param)


def model_missing(message: str) -> ChatServerError:
    return ChatServerError(404, "model_not_found", message, param="model")


def model_changed(message: str) -> ChatServerError:
    return ChatServerError(409, "model_changed", message, param="model")


def model_not_loadable(name: str) -> ChatServerError:
    return ChatServerError(
        500,
        "model_not_loadable",
        f"The base model {name} could not be loaded: its files may be damaged. Fetch the base "
        "model again; the chat server's log says more.",
    )


def too_busy() -> ChatServerError:
    return ChatServerError(
        429,
        "too_many_requests",
        "Too many answers are being written at once. Wait a few seconds, then ask again.",
        retry_after=2,
    )


def unexpected() -> ChatServerError:
    return ChatServerError(
        500,
        "unexpected",
        "The answer broke off because of a fault in the chat server. Ask again; if it happens "
        "twice, the server's log says more.",
    )
