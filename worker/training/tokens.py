"""The examples as token ids, made once, kept in the run's folder and memory-mapped from there.

What an example becomes is the encoder's affair (`encoders.py`): one row of tokens or several that
belong together, and a number that goes along with them.

Memory does not grow with the data: examples are read, encoded and written in small groups, and
training reads them through the page cache; what stays in memory is an index of some bytes a row.
Much data is encoded on all cores (`token_helpers.py`), shard by shard (`token_shards.py`). The
cache names what it was made from (the bytes of the examples, the tokenizer, the chat template, the
limit) and by which Tailor's arithmetic; anything else is made anew.
"""

import hashlib
import json
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from mmap import MADV_DONTNEED
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.storage.durable import sync_folder, write_durably
from worker.training.arithmetic import ARITHMETIC
from worker.training.chat_templates import ChatFormat
from worker.training.encoded import Encoder
from worker.training.examples import Split
from worker.training.token_helpers import encode_with_helpers, helper_count
from worker.training.token_shards import (
    TOKEN_FILES,
    Shard,
    SplitCounts,
    plan_shards,
    read_counts,
    write_shard,
)

_CACHE_FORMAT: Final = 4
_INDEX_FILE: Final = "index.json"
_KEY_FILE: Final = "key"
_UNFINISHED: Final = ".tmp-tokens"
_SECONDS_BETWEEN_REPORTS: Final = 1.0

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.signedinteger[Any]]
ReportShare = Callable[[float, float | None], None]


class TokenTable:
    """All items of a split: the ids of their rows, and which of them are learned.

    Args:
        folders: its shards, in their order.

    Attributes:
        lengths: what each item takes in a micro-batch: its rows, filled up to the longest.
        tokens: of each item, without the filling.
        notes: the number that goes along with each item.
    """

    def __init__(self, folders: list[Path], counts: SplitCounts, rows_per_item: int = 1) -> None:
        self.counts = counts
        self.rows_per_item = rows_per_item
        lengths = [np.fromfile(folder / TOKEN_FILES[2], dtype=np.int32) for folder in folders]
        notes = [np.fromfile(folder / TOKEN_FILES[3], dtype=np.int32) for folder in folders]
        self._ids = [_mapped(folder / TOKEN_FILES[0], np.int32) for folder in folders]
        self._mask = [_mapped(folder / TOKEN_FILES[1], np.uint8) for folder in folders]
        self._first_rows = [0, *accumulate(len(part) for part in lengths)]
        # Where each row ends within its shard.
        self._ends = _joined([np.cumsum(part, dtype=np.int32) for part in lengths])
        self._row_lengths = _joined(lengths)
        self.notes: Counts = _joined(notes)
        rows = self._row_lengths.reshape(-1, rows_per_item)
        self.lengths: Counts = rows.max(axis=1, initial=0) * rows_per_item
        self.tokens: Counts = rows.sum(axis=1, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, item: int, part: int = 0) -> tuple[Ids, Mask]:
        """Return an item's row, or one of its rows."""
        index = int(item) * self.rows_per_item + part
        shard = bisect_right(self._first_rows, index) - 1
        end = int(self._ends[index])
        place = slice(end - int(self._row_lengths[index]), end)
        return self._ids[shard][place], self._mask[shard][place]

    def release_pages(self) -> None:
        """Give back the memory of what was read; it is read again from the disk when needed."""
        for array in (*self._ids, *self._mask):
            if isinstance(array, np.memmap):
                array._mmap.madvise(MADV_DONTNEED)  # type: ignore[attr-defined] # noqa: SLF001


@dataclass(frozen=True)
class TokenTables:
    """Both splits.

    Attributes:
        key: names all that the rows were made from.
    """

    train: TokenTable
    validation: TokenTable
    key: str = ""

    @property
    def longest(self) -> int:
        """What the largest item takes in a micro-batch, in tokens."""
        return max(int(table.lengths.max(initial=0)) for table in (self.train, self.validation))


def prepare_tokens(
    run_folder: Path,
    chat: ChatFormat,
    encoder: Encoder,
    limit: int,
    examples_sha256: str,
    check_stop: Callable[[], None],
    report: ReportShare = lambda _share, _seconds_left: None,
    processes: int | None = None,
) -> TokenTables:
    """Return the tokens of all splits, from the cache if it is whole and fits, else made anew.

    Args:
        run_folder: where the examples lie.
        chat: the tokenizer and template that they become tokens with.
        encoder: what becomes of an example.
        limit: the most tokens of one row.
        examples_sha256: of the examples, see `data_sha256`.
        check_stop: raises if the training shall end; what is done by then is gone on with later.
        report: is told now and then which share of the bytes is done, and the seconds left.
        processes: how many encode; None for as many as are worth it.
    """
    folder = run_folder / "tokens"
    key = _cache_key(examples_sha256, chat, encoder, limit)
    shards = plan_shards(run_folder)
    if (counts := _read_index(folder, key, shards)) is None:
        builder = _Builder(run_folder, shards, encoder, limit, check_stop, report)
        counts = builder.build(folder, key, processes)
    rows = encoder.rows_per_item
    return TokenTables(
        train=_table(folder, "train", counts, rows),
        validation=_table(folder, "validation", counts, rows),
        key=key,
    )


class _Builder:
    """Makes the cache beside its place and moves it there once it is whole."""

    def __init__(
        self,
        run_folder: Path,
        shards: list[Shard],
        encoder: Encoder,
        limit: int,
        check_stop: Callable[[], None],
        report: ReportShare,
    ) -> None:
        self._run_folder = run_folder
        self._shards = shards
        self._encoder = encoder
        self._limit = limit
        self._check_stop = check_stop
        self._report = report
        self._total = sum(shard.size_bytes for shard in shards)
        self._read = 0
        self._read_before = 0
        self._began = self._reported = time.monotonic()

    def build(self, folder: Path, key: str, processes: int | None) -> dict[Shard, SplitCounts]:
        """Encode what no earlier attempt did, and publish the whole."""
        place = _begin(self._run_folder / _UNFINISHED, key)
        missing = [shard for shard in self._shards if read_counts(place, shard) is None]
        self._read = self._read_before = self._total - sum(shard.size_bytes for shard in missing)
        count = helper_count(missing) if processes is None else processes
        if count > 1 and missing:
            encode_with_helpers(
                place, self._run_folder, missing, self._limit, count, self._add, self._check_stop
            )
        counts = {shard: self._counts(place, shard) for shard in self._shards}
        index = {
            "key": key,
            "shards": [[shard.name, asdict(found)] for shard, found in counts.items()],
        }
        write_durably(place / _INDEX_FILE, json.dumps(index).encode())
        sync_folder(place)
        shutil.rmtree(folder, ignore_errors=True)
        place.rename(folder)
        sync_folder(self._run_folder)
        return counts

    def _counts(self, place: Path, shard: Shard) -> SplitCounts:
        """Return a shard's counts; one that nobody did yet is done here, whatever stands in it."""
        found = read_counts(place, shard)
        if found is not None:
            return found
        return write_shard(
            place, self._run_folder, shard, self._encoder, self._limit, self._add_here
        )

    def _add_here(self, size: int) -> None:
        self._add(size)
        self._check_stop()

    def _add(self, size: int) -> None:
        self._read = min(self._total, self._read + size)
        now = time.monotonic()
        if now - self._reported < _SECONDS_BETWEEN_REPORTS:
            return
        self._reported = now
        done = self._read - self._read_before
        left = (self._total - self._read) * (now - self._began) / done if done else None
        self._report(self._read / self._total, left)


def _begin(place: Path, key: str) -> Path:
    """Return the folder of the unfinished cache; one that was made from anything else goes."""
    key_file = place / _KEY_FILE
    if not key_file.exists() or key_file.read_text(encoding="ascii") != key:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700, parents=True)
        write_durably(key_file, key.encode("ascii"))
    for leftover in place.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    return place


def _table(
    folder: Path, split: Split, counts: dict[Shard, SplitCounts], rows_per_item: int
) -> TokenTable:
    parts = {shard: found for shard, found in counts.items() if shard.split == split}
    return TokenTable(
        [folder / shard.name for shard in parts],
        sum(parts.values(), start=SplitCounts()),
        rows_per_item,
    )


def _cache_key(examples_sha256: str, chat: ChatFormat, encoder: Encoder, limit: int) -> str:
    parts = (
        _CACHE_FORMAT,
        ARITHMETIC,
        examples_sha256,
        tokenizer_sha256(chat),
        chat.template,
        encoder.name,
        limit,
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def tokenizer_sha256(chat: ChatFormat) -> str:
    """Return a digest of everything that decides how a text becomes tokens."""
    backend: Any = getattr(chat.tokenizer, "backend_tokenizer", None)
    described = backend.to_str() if backend is not None else json.dumps(chat.tokenizer.get_vocab())
    return hashlib.sha256(described.encode()).hexdigest()


def _read_index(folder: Path, key: str, shards: list[Shard]) -> dict[Shard, SplitCounts] | None:
    """Return the counts of a cache that fits and is whole, else None."""
    try:
        index = json.loads((folder / _INDEX_FILE).read_text(encoding="utf-8"))
        if index["key"] != key:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = {shard: read_counts(folder, shard) for shard in shards}
    whole = {shard: counts for shard, counts in found.items() if counts is not None}
    return whole if len(whole) == len(shards) else None


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _mapped(path: Path, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Map a file; an empty one cannot be mapped and is an empty array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
