"""Take a file out of a request, in constant memory, whatever its size.

Scripts send the file as the body and its name in a header. A form without scripts sends
multipart/form-data, whose file is found while the body streams by.
"""

from typing import Final
from urllib.parse import unquote

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from app.datasets.errors import NoFileError
from app.datasets.uploads import IncomingFile
from app.errors import DomainError

FILE_NAME_HEADER: Final = "x-file-name"
_WRITE_BYTES: Final = 1024 * 1024
_DRAIN_BYTES: Final = 256 * 1024 * 1024


async def receive_file(request: Request, incoming: IncomingFile) -> str:
    """Stream the request's file into its place in the temporary folder.

    Returns:
        The name that the person's machine gives it.

    Raises:
        NoFileError, UploadTooLargeError, DiskFullError
    """
    form = _FormFile(request) if _is_form(request) else None
    held = bytearray()
    drained = 0
    problem: DomainError | None = None
    async for piece in request.stream():
        if problem is not None:
            # A browser reads the answer only after it has sent all; so a little more is taken in.
            drained += len(piece)
            if drained > _DRAIN_BYTES:
                break
            continue
        try:
            held += piece if form is None else form.file_bytes(piece)
            if len(held) >= _WRITE_BYTES:
                await run_in_threadpool(incoming.write, bytes(held))
                held.clear()
        except DomainError as error:
            problem = error
    if problem is not None:
        raise problem
    await run_in_threadpool(incoming.write, bytes(held))
    if form is not None:
        return form.finish()
    return unquote(request.headers.get(FILE_NAME_HEADER, ""))


def announced_bytes(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


class _FormFile:
    """Finds the first file among the fields of a form."""

    def __init__(self, request: Request) -> None:
        _, options = parse_options_header(request.headers.get("content-type", ""))
        self._name: str | None = None
        self._found = bytearray()
        self._header = bytearray()
        self._value = bytearray()
        self._is_in_file = False
        self._parser = MultipartParser(
            options.get(b"boundary", b""),
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._header_piece,
                "on_header_value": self._value_piece,
                "on_header_end": self._end_header,
                "on_part_data": self._part_piece,
                "on_part_end": self._end_part,
            },
        )

    def file_bytes(self, piece: bytes) -> bytes:
        """Return what of a piece of the body belongs to the file.

        Raises:
            NoFileError: if the body is no form.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise NoFileError from error
        found = bytes(self._found)
        self._found.clear()
        return found

    def finish(self) -> str:
        """Return the file's name.

        Raises:
            NoFileError: if there was none.
        """
        if not self._name:
            raise NoFileError
        return self._name

    def _begin_part(self) -> None:
        self._header.clear()
        self._value.clear()

    def _header_piece(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _value_piece(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition" and self._name is None:
            _, options = parse_options_header(bytes(self._value))
            name = options.get(b"filename")
            if name is not None:
                self._name = name.decode("utf-8", "replace")
                self._is_in_file = True
        self._header.clear()
        self._value.clear()

    def _part_piece(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._found += data[start:end]

    def _end_part(self) -> None:
        self._is_in_file = False
