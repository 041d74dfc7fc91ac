"""The token cache in shards: each covers some megabytes of examples and is whole or not there.

Where a shard begins and ends follows from the bytes of the examples alone, so the cache is the same
to the bit whoever makes it and however many work at it; and who is interrupted goes on with the
shards that are missing.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from app.storage.durable import durable_file, sync_folder, write_durably
from worker.training.encoded import Encoder
from worker.training.examples import SPLITS, Example, Split, data_file, parse_example

SHARD_BYTES: Final = 8 * 1024**2
_EXAMPLES_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 1024**2
_COUNTS_FILE: Final = "counts.json"
TOKEN_FILES: Final = ("ids.bin", "mask.bin", "lengths.bin", "notes.bin")


@dataclass(frozen=True)
class SplitCounts:
    """What became of a split's examples, or of a part of them."""

    rows: int = 0
    tokens: int = 0
    examples_cut: int = 0
    examples_left_out: int = 0

    def __add__(self, other: Self) -> Self:
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return type(self)(*(mine + theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class Shard:
    """A range of bytes of a split's file, from the beginning of a line to the end of one."""

    split: Split
    number: int
    start: int
    end: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"

    @property
    def size_bytes(self) -> int:
        return self.end - self.start


def plan_shards(run_folder: Path, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Divide the examples of all splits; a file that is not there has no shards."""
    return [
        Shard(split, number, start, end)
        for split in SPLITS
        for number, (start, end) in enumerate(_ranges(data_file(run_folder, split), shard_bytes))
    ]


def _ranges(path: Path, shard_bytes: int) -> Iterator[tuple[int, int]]:
    if not path.exists():
        return
    size = path.stat().st_size
    start = 0
    with path.open("rb") as file:
        while start < size:
            file.seek(min(start + shard_bytes, size) - 1)
            # To the end of the line in which the shard's last byte lies.
            file.readline()
            end = file.tell()
            yield start, end
            start = end


def read_counts(folder: Path, shard: Shard) -> SplitCounts | None:
    """Return the counts of a shard that is whole, else None."""
    place = folder / shard.name
    try:
        content = json.loads((place / _COUNTS_FILE).read_text(encoding="utf-8"))
        counts = SplitCounts(**content["counts"])
        whole = content["range"] == [shard.start, shard.end] and all(
            (place / name).stat().st_size == content["bytes"][name] for name in TOKEN_FILES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return counts if whole else None


def write_shard(
    folder: Path,
    run_folder: Path,
    shard: Shard,
    encoder: Encoder,
    limit: int,
    has_read: Callable[[int], None],
) -> SplitCounts:
    """Encode the examples of a shard and put it into its place once it is whole.

    Args:
        folder: where the shards lie.
        run_folder: where the examples lie.
        shard: which of them.
        encoder: what becomes of an example.
        limit: the most tokens of one row.
        has_read: is told the bytes of each group of examples; what it raises ends the work.
    """
    temporary = folder / f".{shard.name}-{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        counts = _write_tokens(temporary, run_folder, shard, encoder, limit, has_read)
        content = {
            "range": [shard.start, shard.end],
            "counts": asdict(counts),
            "bytes": {name: (temporary / name).stat().st_size for name in TOKEN_FILES},
        }
        write_durably(temporary / _COUNTS_FILE, json.dumps(content).encode())
        sync_folder(temporary)
        place = folder / shard.name
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return counts


def _write_tokens(
    folder: Path,
    run_folder: Path,
    shard: Shard,
    encoder: Encoder,
    limit: int,
    has_read: Callable[[int], None],
) -> SplitCounts:
    items = tokens = cut = left_out = 0
    ids_name, mask_name, lengths_name, notes_name = TOKEN_FILES
    with (
        durable_file(folder / ids_name) as ids_file,
        durable_file(folder / mask_name) as mask_file,
        durable_file(folder / lengths_name) as lengths_file,
        durable_file(folder / notes_name) as notes_file,
    ):
        for group, size in _groups(data_file(run_folder, shard.split), shard):
            for encoded in encoder.encode(group, limit):
                cut += encoded.was_cut
                left_out += not encoded.items
                items += len(encoded.items)
                for item in encoded.items:
                    notes_file.write(np.int32(encoded.note).tobytes())
                    for row in item:
                        ids_file.write(np.asarray(row.ids, dtype=np.int32).tobytes())
                        mask_file.write(np.asarray(row.mask, dtype=np.uint8).tobytes())
                        lengths_file.write(np.int32(len(row.ids)).tobytes())
                        tokens += len(row.ids)
            has_read(size)
    return SplitCounts(items, tokens, cut, left_out)


def _groups(path: Path, shard: Shard) -> Iterator[tuple[list[Example], int]]:
    """Yield a shard's examples, some at a time, and of how many bytes they are made."""
    group: list[Example] = []
    size = 0
    position = shard.start
    with path.open("rb") as file:
        file.seek(shard.start)
        while position < shard.end and (line := file.readline()):
            position += len(line)
            size += len(line)
            if line.strip():
                group.append(parse_example(line))
            if len(group) >= _EXAMPLES_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield group, size
                group, size = [], 0
    if group or size:
        yield group, size
