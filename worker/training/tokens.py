"""The examples as token ids, made once, kept in the run's folder and memory-mapped from there.

What an example becomes is the encoder's affair (`encoders.py`): one row of tokens or several that
belong together, and a number that goes along with them.

Memory does not grow with the data: examples are read, encoded and written in small groups, and
training reads them through the page cache. The cache names what it was made from (the bytes of
the examples, the tokenizer, the chat template, the limit); anything else is made anew.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from mmap import MADV_DONTNEED
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from app.storage.durable import durable_file, sync_folder, write_durably
from worker.training.chat_templates import ChatFormat, EncodedRow
from worker.training.examples import SPLITS, Example, Split, data_file, read_examples

_CACHE_FORMAT: Final = 3
_EXAMPLES_AT_ONCE: Final = 256
_INDEX_FILE: Final = "index.json"
_FILES: Final = ("ids", "mask", "offsets", "notes")

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitCounts:
    """What became of a split's examples."""

    rows: int = 0
    tokens: int = 0
    examples_cut: int = 0
    examples_left_out: int = 0


@dataclass(frozen=True)
class Encoded:
    """What became of an example.

    Attributes:
        items: what is learned at once; each has the rows that belong together. None: left out.
        was_cut: whether it had to be shortened.
        note: a number that goes along with each of the items, such as that of a kind.
    """

    items: Sequence[tuple[EncodedRow, ...]] = ()
    was_cut: bool = False
    note: int = 0


class Encoder(Protocol):
    """Turns examples into rows of tokens, each example for itself or with those beside it.

    Attributes:
        name: differs wherever the rows would.
        rows_per_item: how many rows belong together.
    """

    @property
    def name(self) -> str: ...
    @property
    def rows_per_item(self) -> int: ...
    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]: ...


class TokenTable:
    """All items of a split: the ids of their rows, and which of them are learned.

    Attributes:
        lengths: what each item takes in a micro-batch: its rows, filled up to the longest.
        tokens: of each item, without the filling.
        notes: the number that goes along with each item.
    """

    def __init__(self, folder: Path, counts: SplitCounts, rows_per_item: int = 1) -> None:
        self._folder = folder
        self.counts = counts
        self.rows_per_item = rows_per_item
        self._ids = _mapped(folder / "ids.bin", np.int32)
        self._mask = _mapped(folder / "mask.bin", np.uint8)
        self._offsets: Counts = np.fromfile(folder / "offsets.bin", dtype=np.int64)
        self.notes: Counts = np.fromfile(folder / "notes.bin", dtype=np.int64)
        rows = np.diff(self._offsets).reshape(-1, rows_per_item)
        self.lengths: Counts = rows.max(axis=1, initial=0) * rows_per_item
        self.tokens: Counts = rows.sum(axis=1)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, item: int, part: int = 0) -> tuple[Ids, Mask]:
        """Return an item's row, or one of its rows."""
        index = item * self.rows_per_item + part
        start, end = self._offsets[index], self._offsets[index + 1]
        return self._ids[start:end], self._mask[start:end]

    def release_pages(self) -> None:
        """Give back the memory of what was read; it is read again from the disk when needed."""
        for array in (self._ids, self._mask):
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
) -> TokenTables:
    """Return the tokens of all splits, from the cache if it is whole and fits, else made anew.

    Args:
        run_folder: where the examples lie.
        chat: the tokenizer and template that they become tokens with.
        encoder: what becomes of an example.
        limit: the most tokens of one row.
        examples_sha256: of the examples, see `data_sha256`.
        check_stop: raises if the training shall end.
    """
    folder = run_folder / "tokens"
    key = _cache_key(examples_sha256, chat, encoder, limit)
    if (counts := _read_index(folder, key)) is None:
        counts = _build(run_folder, folder, key, encoder, limit, check_stop)
    tables = {
        split: TokenTable(folder / split, counts[split], encoder.rows_per_item) for split in SPLITS
    }
    return TokenTables(train=tables["train"], validation=tables["validation"], key=key)


def _build(
    run_folder: Path,
    folder: Path,
    key: str,
    encoder: Encoder,
    limit: int,
    check_stop: Callable[[], None],
) -> dict[Split, SplitCounts]:
    """Write the cache beside its place and move it there once it is whole."""
    temporary = folder.with_name(f".tokens-{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    counts: dict[Split, SplitCounts] = {}
    for split in SPLITS:
        (temporary / split).mkdir(parents=True, mode=0o700)
        examples = read_examples(data_file(run_folder, split))
        counts[split] = _write_split(temporary / split, examples, encoder, limit, check_stop)
    index = {
        "key": key,
        "splits": {split: asdict(count) for split, count in counts.items()},
        "bytes": {name: (temporary / name).stat().st_size for name in _file_names()},
    }
    write_durably(temporary / _INDEX_FILE, json.dumps(index).encode())
    sync_folder(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    sync_folder(run_folder)
    return counts


def _write_split(
    folder: Path,
    examples: Iterator[Example],
    encoder: Encoder,
    limit: int,
    check_stop: Callable[[], None],
) -> SplitCounts:
    items = tokens = cut = left_out = 0
    with (
        durable_file(folder / "ids.bin") as ids_file,
        durable_file(folder / "mask.bin") as mask_file,
        durable_file(folder / "offsets.bin") as offsets_file,
        durable_file(folder / "notes.bin") as notes_file,
    ):
        offsets_file.write(np.int64(0).tobytes())
        while group := list(islice(examples, _EXAMPLES_AT_ONCE)):
            check_stop()
            for encoded in encoder.encode(group, limit):
                cut += encoded.was_cut
                left_out += not encoded.items
                items += len(encoded.items)
                for item in encoded.items:
                    notes_file.write(np.int64(encoded.note).tobytes())
                    for row in item:
                        ids_file.write(np.asarray(row.ids, dtype=np.int32).tobytes())
                        mask_file.write(np.asarray(row.mask, dtype=np.uint8).tobytes())
                        tokens += len(row.ids)
                        offsets_file.write(np.int64(tokens).tobytes())
    return SplitCounts(items, tokens, cut, left_out)


def _cache_key(examples_sha256: str, chat: ChatFormat, encoder: Encoder, limit: int) -> str:
    parts = (
        _CACHE_FORMAT,
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


def _read_index(folder: Path, key: str) -> dict[Split, SplitCounts] | None:
    """Return the counts of a cache that fits and is whole, else None."""
    try:
        index = json.loads((folder / _INDEX_FILE).read_text(encoding="utf-8"))
        whole = index["key"] == key and all(
            (folder / name).stat().st_size == size for name, size in index["bytes"].items()
        )
        return {split: SplitCounts(**index["splits"][split]) for split in SPLITS} if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file_names() -> list[str]:
    return [f"{split}/{name}.bin" for split in SPLITS for name in _FILES]


def _mapped(path: Path, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Map a file; an empty one cannot be mapped and is an empty array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
