"""Every error that reaches a browser, as a page or as JSON, in one place.

Never a stack trace: what Tailor did not foresee gets a short reference that stands in the log too.
"""

import errno
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from app.accounts.errors import NotSignedInError, TooManyAttemptsError
from app.errors import (
    ConflictError,
    DomainError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from app.web.gate import wants_page
from app.web.security import add_security_headers
from app.web.templating import render

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5
# What SQLite and PostgreSQL say.
_FULL_DATABASE: Final = ("database or disk is full", "No space left on device")


class UnforeseenError(DomainError):
    """A fault of Tailor itself."""

    status_code = 500

    def __init__(self, reference: str) -> None:
        super().__init__(
            "Something went wrong inside Tailor.",
            why=f"It was not your doing. The log has the details under {reference}.",
            next_step="Try again. If it happens again, tell the person who runs Tailor this "
            f"reference: {reference}.",
        )


class DatabaseAwayError(UnavailableError):
    def __init__(self) -> None:
        super().__init__(
            "The database does not answer.",
            why="It may be starting again or be very busy. Nothing was changed.",
            next_step="Go back and try again in a moment: what you typed is still in the form.",
        )


class NoRoomError(DomainError):
    """The disk is full, found out while something was being written."""

    status_code = 507

    def __init__(self) -> None:
        super().__init__(
            "The disk of this machine is full.",
            why="There was no room left for what you sent. Nothing was changed.",
            next_step="Ask the person who runs Tailor to make room, then try again.",
        )


class _MethodNotAllowedError(DomainError):
    status_code = 405

    def __init__(self) -> None:
        super().__init__(
            "This page cannot be used that way.", next_step="Go back and try again from the page."
        )


class _NotUnderstoodError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "What was sent could not be understood.",
            why="A part of the form is missing or has an unexpected form.",
            next_step="Go back, reload the page, and try again.",
        )


class _SameMomentError(ConflictError):
    """Two people did the same thing at once, and the database kept the first."""

    def __init__(self) -> None:
        super().__init__(
            "Someone else changed this at the same moment.",
            why="Nothing of yours was saved.",
            next_step="Go back, reload the page, and try again.",
        )


def error_response(request: Request, error: DomainError) -> Response:
    """Return the page, or the JSON, that tells a person about an error."""
    headers = _extra_headers(error)
    if not wants_page(request):
        body = {"what": error.what, "why": error.why, "next_step": error.next_step}
        return JSONResponse({"error": body}, status_code=error.status_code, headers=headers)
    context = {"what": error.what, "why": error.why, "next_step": error.next_step}
    if isinstance(error, NotSignedInError):
        context |= {"back_url": "/login", "back_text": "Sign in"}
    response = render(request, "errors/error.html", context, status_code=error.status_code)
    response.headers.update(headers)
    return response


async def _domain_error(request: Request, error: DomainError) -> Response:
    return error_response(request, error)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, DomainError):
        # Raised while a body was read, for example because it was too large.
        return error_response(request, error.__cause__)
    if error.status_code == 404:
        return error_response(request, NotFoundError())
    if error.status_code == 405:
        return error_response(request, _MethodNotAllowedError())
    return error_response(request, _NotUnderstoodError())


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    logger.info("Not understood at %s: %s", request.url.path, error.errors())
    return error_response(request, _NotUnderstoodError())


async def _unusable_data(request: Request, error: DataError) -> Response:
    # Such as a character that the database cannot keep, in an address that someone made up.
    logger.info("The database refused a value at %s: %s", request.url.path, error.orig)
    return error_response(request, _NotUnderstoodError())


async def _unusable_number(request: Request, error: OverflowError) -> Response:
    # PostgreSQL refuses a number that no column holds; SQLite's driver cannot even say it.
    logger.info("A number is too large at %s: %s", request.url.path, error)
    return error_response(request, _NotUnderstoodError())


async def _same_moment(request: Request, error: IntegrityError) -> Response:
    logger.warning("Two changes met at %s: %s", request.url.path, error.orig)
    return error_response(request, _SameMomentError())


async def _database_away(request: Request, error: Exception) -> Response:
    logger.error("The database did not answer at %s: %s", request.url.path, error)
    if any(words in str(error) for words in _FULL_DATABASE):
        return error_response(request, NoRoomError())
    return error_response(request, DatabaseAwayError())


async def _no_room(request: Request, error: OSError) -> Response:
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        raise error
    logger.error("The disk is full at %s: %s", request.url.path, error)
    return error_response(request, NoRoomError())


async def unforeseen(request: Request, error: Exception) -> Response:
    """The last resort. It stands outside of all walls, so it brings the headers itself."""
    reference = secrets.token_hex(4)
    logger.error("%s: %s %s failed", reference, request.method, request.url.path, exc_info=error)
    response = error_response(request, UnforeseenError(reference))
    add_security_headers(response.headers, request.app.state.settings)
    return response


def _extra_headers(error: DomainError) -> dict[str, str]:
    if isinstance(error, TooManyAttemptsError):
        return {"retry-after": str(error.wait_seconds)}
    return {"retry-after": str(_RETRY_SECONDS)} if isinstance(error, UnavailableError) else {}


_Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
_HANDLERS: Final[Mapping[int | type[Exception], _Handler]] = {
    DomainError: _domain_error,
    HTTPException: _http_error,
    RequestValidationError: _invalid_request,
    DataError: _unusable_data,
    OverflowError: _unusable_number,
    IntegrityError: _same_moment,
    OperationalError: _database_away,
    InterfaceError: _database_away,
    PoolTimeoutError: _database_away,
    OSError: _no_room,
}


def expected_errors() -> dict[int | type[Exception], _Handler]:
    """The handlers for everything that was foreseen, for the routes and for the walls."""
    return dict(_HANDLERS)
