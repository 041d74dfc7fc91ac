"""The examples as token ids, made once, kept in the run's folder and memory-mapped from there.

Memory does not grow with the data: examples are read, encoded and written in small groups, and
training reads them through the page cache. The cache names what it was made from (the bytes of
the examples, the tokenizer, the chat template, the limit); anything else is made anew.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from mmap import MADV_DONTNEED
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.storage.durable import durable_file, sync_folder, write_durably
from worker.training.chat_templates import ChatFormat, EncodedRow
from worker.training.examples import SPLITS, Example, Split, data_file, read_examples
from worker.training.row_lengths import divide_passage, fit_conversation

_CACHE_FORMAT: Final = 2
_EXAMPLES_AT_ONCE: Final = 256
_INDEX_FILE: Final = "index.json"

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


class TokenTable:
    """All rows of a split: ids, and which of them are learned."""

    def __init__(self, folder: Path, counts: SplitCounts) -> None:
        self._folder = folder
        self.counts = counts
        self._ids = _mapped(folder / "ids.bin", np.int32)
        self._mask = _mapped(folder / "mask.bin", np.uint8)
        self._offsets: Counts = np.fromfile(folder / "offsets.bin", dtype=np.int64)
        self.lengths: Counts = np.diff(self._offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> tuple[Ids, Mask]:
        start, end = self._offsets[index], self._offsets[index + 1]
        return self._ids[start:end], self._mask[start:end]

    def release_pages(self) -> None:
        """Give back the memory of what was read; it is read again from the disk when needed."""
        for array in (self._ids, self._mask):
            if isinstance(array, np.memmap):
                array._mmap.madvise(MADV_DONTNEED)  # type: ignore[attr-defined] # noqa: SLF001


@dataclass(frozen=True)
class TokenTables:
    train: TokenTable
    validation: TokenTable


def prepare_tokens(
    run_folder: Path,
    chat: ChatFormat,
    limit: int,
    examples_sha256: str,
    check_stop: Callable[[], None],
) -> TokenTables:
    """Return the tokens of all splits, from the cache if it is whole and fits, else made anew.

    Args:
        run_folder: where the examples lie.
        chat: how they become tokens.
        limit: the most tokens of one row.
        examples_sha256: of the examples, see `data_sha256`.
        check_stop: raises if the training shall end.
    """
    folder = run_folder / "tokens"
    key = _cache_key(examples_sha256, chat, limit)
    if (counts := _read_index(folder, key)) is None:
        counts = _build(run_folder, folder, key, chat, limit, check_stop)
    tables = {split: TokenTable(folder / split, counts[split]) for split in SPLITS}
    return TokenTables(train=tables["train"], validation=tables["validation"])


def _build(
    run_folder: Path,
    folder: Path,
    key: str,
    chat: ChatFormat,
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
        counts[split] = _write_split(temporary / split, examples, chat, limit, check_stop)
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
    chat: ChatFormat,
    limit: int,
    check_stop: Callable[[], None],
) -> SplitCounts:
    rows = tokens = cut = left_out = 0
    with (
        durable_file(folder / "ids.bin") as ids_file,
        durable_file(folder / "mask.bin") as mask_file,
        durable_file(folder / "offsets.bin") as offsets_file,
    ):
        offsets_file.write(np.int64(0).tobytes())
        while group := list(islice(examples, _EXAMPLES_AT_ONCE)):
            check_stop()
            for encoded, was_cut in _encode_group(group, chat, limit):
                cut += was_cut
                left_out += not encoded
                for row in encoded:
                    ids_file.write(np.asarray(row.ids, dtype=np.int32).tobytes())
                    mask_file.write(np.asarray(row.mask, dtype=np.uint8).tobytes())
                    rows += 1
                    tokens += len(row.ids)
                    offsets_file.write(np.int64(tokens).tobytes())
    return SplitCounts(rows, tokens, cut, left_out)


def _encode_group(
    examples: list[Example], chat: ChatFormat, limit: int
) -> Iterator[tuple[list[EncodedRow], bool]]:
    """Yield each example's rows (none if it is left out) and whether it had to be cut."""
    conversations = [example.messages for example in examples if example.messages]
    encoded = iter(chat.encode(conversations))
    for example in examples:
        if not example.messages:
            ids = chat.encode_passage(example.text)
            yield divide_passage(ids, limit), False
            continue
        row = next(encoded)
        if row is not None and len(row.ids) > limit:
            row = fit_conversation(chat, example.messages, limit)
            yield ([row] if row else []), row is not None
        else:
            yield ([row] if row and row.answer_tokens else []), False


def _cache_key(examples_sha256: str, chat: ChatFormat, limit: int) -> str:
    parts = (
        _CACHE_FORMAT,
        examples_sha256,
        tokenizer_sha256(chat),
        chat.template,
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
    return [f"{split}/{name}.bin" for split in SPLITS for name in ("ids", "mask", "offsets")]


def _mapped(path: Path, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Map a file; an empty one cannot be mapped and is an empty array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
