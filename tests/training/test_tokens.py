"""The token cache: right, whole, made once, and made anew when anything changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.run_folders import (
    REPOSITORY,
    conversation,
    make_run_folder,
    recipe_for,
    sums,
)
from tests.support.tiny_models import MARKED_TEMPLATE, UNMARKED_TEMPLATE, make_tokenizer
from tests.support.waiting import wait_until
from tests.support.workers import children_of, is_running
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import AnswerEncoder
from worker.training.examples import data_sha256
from worker.training.stopping import StoppedError
from worker.training.token_helpers import encode_with_helpers
from worker.training.token_shards import plan_shards
from worker.training.tokens import TokenTables, prepare_tokens


def prepare(folder: Path, limit: int = 64, template: str = MARKED_TEMPLATE) -> TokenTables:
    chat = ChatFormat(make_tokenizer(template=template))
    return prepare_tokens(
        folder, chat, AnswerEncoder(chat), limit, data_sha256(folder), lambda: None
    )


def test_rows_counts_and_passages(tiny_model: Path, tmp_path: Path) -> None:
    long_words = "word " * 300
    folder = make_run_folder(
        tmp_path / "run",
        recipe_for(tiny_model),
        [
            *sums(3),
            conversation(10, long_words, "Short."),
            {"id": 11, "text": "Hello there. " * 60},
            {"id": 12, "messages": [{"role": "user", "content": "No answer here"}]},
        ],
        sums(2),
    )
    tables = prepare(folder)
    counts = tables.train.counts
    assert counts.examples_cut == 1
    assert counts.examples_left_out == 1
    assert counts.rows == len(tables.train) > 6
    assert counts.tokens == int(tables.train.lengths.sum())
    assert int(tables.train.lengths.max()) <= 64
    ids, mask = tables.train.row(0)
    assert len(ids) == len(mask) == tables.train.lengths[0]
    assert len(tables.validation) == 2


def test_the_cache_is_used_again_and_not_when_something_changed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(5))
    index = folder / "tokens" / "index.json"

    def made(limit: int = 64, template: str = MARKED_TEMPLATE) -> tuple[int, str]:
        prepare(folder, limit, template)
        return index.stat().st_ino, json.loads(index.read_text())["key"]

    first = made()
    assert made() == first
    assert made(limit=63)[1] != first[1]
    assert made(template=UNMARKED_TEMPLATE)[1] != first[1]
    with monkeypatch.context() as newer:
        newer.setattr("worker.training.tokens.ARITHMETIC", 99)
        assert made()[1] != first[1]
    assert made()[1] == first[1]
    inode = index.stat().st_ino
    (folder / "tokens" / "train-00000" / "ids.bin").write_bytes(b"half")
    assert made()[0] != inode
    with (folder / "data" / "train.jsonl").open("a") as file:
        file.write(json.dumps(conversation(99, "New", "Yes.")) + "\n")
    assert made()[1] != first[1]


_MEASURE = """
import resource, sys
from pathlib import Path
from tests.support.tiny_models import make_tokenizer
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import AnswerEncoder
from worker.training.examples import data_sha256
from worker.training.tokens import prepare_tokens
chat = ChatFormat(make_tokenizer())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tables = prepare_tokens(
    Path(sys.argv[1]), chat, AnswerEncoder(chat), 512, data_sha256(Path(sys.argv[1])), lambda: None
)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, len(tables.train))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tiny_model: Path, tmp_path: Path) -> None:
    answer = "Yes. Hello there. " * 60
    grown: list[int] = []
    for count in (300, 3000):
        rows = [conversation(i, f"What is {i}?", answer) for i in range(count)]
        folder = make_run_folder(tmp_path / str(count), recipe_for(tiny_model), rows)
        output = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(folder)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert int(output[1]) == count
        grown.append(int(output[0]))
    assert grown[1] < grown[0] + 8


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of the cache but the times within."""
    cache = folder / "tokens"
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.training.tokens.plan_shards", lambda f: plan_shards(f, 2_000))


def many(folder: Path, model: Path, count: int = 120) -> Path:
    rows = [*sums(count), {"id": 1, "text": "Hello there. " * 90}, *sums(20, first=500)]
    return make_run_folder(folder, recipe_for(model), rows, sums(15, first=900))


@pytest.mark.usefixtures("small_shards")
def test_the_cache_is_the_same_however_many_make_it(tiny_model: Path, tmp_path: Path) -> None:
    alone, together = (many(tmp_path / name, tiny_model) for name in ("alone", "together"))
    others = set(children_of(os.getpid()))
    shares: list[float] = []
    chat = ChatFormat(make_tokenizer())
    tables = [
        prepare_tokens(
            folder,
            chat,
            AnswerEncoder(chat),
            64,
            data_sha256(folder),
            lambda: None,
            lambda share, _: shares.append(share),
            processes,
        )
        for folder, processes in ((alone, 1), (together, 2))
    ]
    assert len(plan_shards(alone, 2_000)) > 8
    assert files_of(alone) == files_of(together)
    ids = [list(table.train.row(i)[0]) for table in tables for i in range(len(table.train))]
    half = len(ids) // 2
    assert ids[:half] == ids[half:]
    assert tables[0].train.counts == tables[1].train.counts
    assert set(children_of(os.getpid())) <= others


@pytest.mark.usefixtures("small_shards")
def test_what_was_done_before_a_stop_is_gone_on_with(tiny_model: Path, tmp_path: Path) -> None:
    folder, undisturbed = (many(tmp_path / name, tiny_model) for name in ("stopped", "whole"))
    prepare(undisturbed)
    groups = 0

    def stop_after_three() -> None:
        nonlocal groups
        groups += 1
        if groups > 3:
            raise StoppedError(0)

    chat = ChatFormat(make_tokenizer())
    with pytest.raises(StoppedError):
        prepare_tokens(folder, chat, AnswerEncoder(chat), 64, data_sha256(folder), stop_after_three)
    done = {path.name: path.stat().st_ino for path in (folder / ".tmp-tokens").glob("t*-*")}
    assert len(done) == 3
    prepare(folder)
    kept = {name: (folder / "tokens" / name).stat().st_ino for name in done}
    assert kept == done
    assert files_of(folder) == files_of(undisturbed)
    assert not (folder / ".tmp-tokens").exists()


@pytest.mark.usefixtures("small_shards")
@pytest.mark.slow
def test_a_helper_that_dies_is_made_up_for(tiny_model: Path, tmp_path: Path) -> None:
    folder, undisturbed = (many(tmp_path / name, tiny_model) for name in ("killed", "whole"))
    prepare(undisturbed)
    killed: list[int] = []
    # Browsers that other tests of this process use are its children as well.
    others = set(children_of(os.getpid()))

    def kill_one() -> None:
        for pid in children_of(os.getpid()):
            if not killed and pid not in others:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    chat = ChatFormat(make_tokenizer())
    encoder, digest = AnswerEncoder(chat), data_sha256(folder)
    prepare_tokens(folder, chat, encoder, 64, digest, kill_one, processes=2)
    assert killed
    assert files_of(folder) == files_of(undisturbed)


_ENCODE = """
import sys
from pathlib import Path
from tests.support.tiny_models import make_tokenizer
from worker.training import tokens
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import AnswerEncoder
from worker.training.examples import data_sha256
from worker.training.token_shards import plan_shards
tokens.plan_shards = lambda folder: plan_shards(folder, 2_000)
folder = Path(sys.argv[1])
chat = ChatFormat(make_tokenizer())
encoder, digest = AnswerEncoder(chat), data_sha256(folder)
tokens.prepare_tokens(folder, chat, encoder, 64, digest, lambda: None, processes=2)
"""


def test_helpers_end_with_the_process_that_they_help(tiny_model: Path, tmp_path: Path) -> None:
    folder = many(tmp_path / "run", tiny_model)
    process = subprocess.Popen([sys.executable, "-c", _ENCODE, str(folder)], cwd=REPOSITORY)
    wait_until(lambda: len(children_of(process.pid)) == 2, timeout=60, what="two helpers")
    helpers = children_of(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_running, helpers)), timeout=5, what="the helpers' end")


@pytest.mark.usefixtures("small_shards")
def test_a_stop_ends_the_helpers_within_a_second(tiny_model: Path, tmp_path: Path) -> None:
    folder = many(tmp_path / "run", tiny_model)
    place = tmp_path / "shards"
    place.mkdir()
    others = set(children_of(os.getpid()))
    asked = time.monotonic()

    def stop() -> None:
        raise StoppedError(0)

    with pytest.raises(StoppedError):
        encode_with_helpers(place, folder, plan_shards(folder, 2_000), 64, 2, lambda _: None, stop)
    assert set(children_of(os.getpid())) <= others
    assert time.monotonic() - asked < 60
