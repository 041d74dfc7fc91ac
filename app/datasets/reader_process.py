"""Start the process that reads an uploaded file, and listen to it.

Uploaded bytes are never parsed in a process that holds the database's password or serves pages.
"""

import json
import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

from app.datasets.errors import ReaderStoppedError
from app.datasets.readers.problems import NeedsTooMuchError, UnreadableFileError
from app.processes import child_environment, dying_with_parent, end_group
from app.settings import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

_LONGEST_MESSAGE: Final = 32 * 1024 * 1024
_DETAILS: Final = 4000


def inspect_file(path: Path, encoding: str = "") -> dict[str, Any]:
    """Return what was understood of the file.

    Args:
        path: the file.
        encoding: the codec that somebody chose; empty to find it out.

    Raises:
        UnreadableFileError, ReaderStoppedError
    """
    with closing(_messages("inspect", path, {"encoding": encoding})) as messages:
        for message in messages:
            understood: dict[str, Any] = message["understood"]
            return understood
    raise ReaderStoppedError


def read_file(
    path: Path, plan: dict[str, Any], mapping: dict[str, Any]
) -> Generator[dict[str, Any], None, None]:
    """Yield batches: rows passed so far, drafts of examples, rows left out.

    Raises:
        UnreadableFileError, ReaderStoppedError
    """
    is_whole = False
    with closing(_messages("read", path, {"plan": plan, "mapping": mapping})) as messages:
        for message in messages:
            if message.get("end"):
                is_whole = True
            else:
                yield message
    if not is_whole:
        raise ReaderStoppedError


def _messages(
    purpose: Literal["inspect", "read"], path: Path, request: dict[str, Any]
) -> Generator[dict[str, Any], None, None]:
    reader = [sys.executable, "-m", "app.datasets.readers.child", purpose, str(path.resolve())]
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        process = subprocess.Popen(
            dying_with_parent(reader, signal.SIGKILL),
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=REPOSITORY_ROOT,
            env=child_environment(LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1"),
            start_new_session=True,
        )
        try:
            yield from _listen(process)
        finally:
            # A reader that is not listened to any more has nothing left to do.
            end_group(process)
            if process.stdout is not None:
                process.stdout.close()
            complaints.seek(0)
            if text := complaints.read(_DETAILS).decode("utf-8", "replace"):
                logger.warning("The reader of %s said: %s", path, text)


def _listen(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    if process.stdout is None:
        raise ReaderStoppedError
    while line := process.stdout.readline(_LONGEST_MESSAGE):
        message = _message(line)
        if problem := message.get("problem"):
            raise UnreadableFileError(
                problem["what"], why=problem["why"], next_step=problem["next_step"]
            )
        yield message
    code = process.wait()
    if code == 0:
        return
    logger.warning("A reader ended with %s", code)
    # A signal: out of memory ends in an abort, too much time in SIGXCPU.
    raise NeedsTooMuchError if code < 0 else ReaderStoppedError


def _message(line: bytes) -> dict[str, Any]:
    try:
        message: dict[str, Any] = json.loads(line)
    except ValueError as error:
        # Half a line: the reader was ended in the middle of it, or says more than is listened to.
        raise ReaderStoppedError from error
    return message
