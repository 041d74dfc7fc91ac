"""Files that are whole or are not there."""

import errno
import os
import threading
from pathlib import Path

import pytest

from app.storage.durable import create_once, write_atomically, write_durably


def test_whoever_comes_first_makes_the_key_and_all_get_it(tmp_path: Path) -> None:
    path, got = tmp_path / "web.key", []
    together = threading.Barrier(16)

    def ask(number: int) -> None:
        together.wait()
        got.append(create_once(path, b"%02d" % number))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [path.read_bytes()] * 16
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("write", [write_atomically, create_once])
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    path = tmp_path / "recipe.json"
    if write is write_atomically:
        write_durably(path, b"before")
    before = list(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"after")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == before
    assert [found.read_bytes() for found in before] == [b"before"] * len(before)
