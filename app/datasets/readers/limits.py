"""What a reader may use. Uploaded bytes are parsed only in a process that holds itself to this."""

import resource
from typing import Final

MEBIBYTE: Final = 1024 * 1024

MEMORY_BYTES: Final = 1024 * MEBIBYTE
CPU_SECONDS: Final = {"inspect": 120, "read": 3600}
OPEN_FILES: Final = 64

MAX_LINE_CHARACTERS: Final = 1_000_000
"""A longer line of a table or of plain text is a row that no model could read."""
MAX_JSON_CHARACTERS: Final = 4_000_000
MAX_RECORD_LINES: Final = 5_000
MAX_EXAMPLE_CHARACTERS: Final = 200_000
MAX_COLUMNS: Final = 200
MAX_UNCLOSED_QUOTES: Final = 200
PASSAGE_CHARACTERS: Final = 1_500

MAX_UNPACKED_BYTES: Final = 400 * MEBIBYTE
MAX_UNPACK_RATIO: Final = 100
MAX_ARCHIVE_MEMBERS: Final = 5_000


def hold_to_limits(purpose: str) -> None:
    """Give up what reading does not need. Called by the child before it opens the file."""
    seconds = CPU_SECONDS[purpose]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
