"""The token cache: right, whole, made once, and made anew when anything changed."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.run_folders import (
    REPOSITORY,
    conversation,
    make_run_folder,
    recipe_for,
    sums,
)
from tests.support.tiny_models import MARKED_TEMPLATE, UNMARKED_TEMPLATE, make_tokenizer
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import AnswerEncoder
from worker.training.examples import data_sha256
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
    tiny_model: Path, tmp_path: Path
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
    assert made()[1] == first[1]
    inode = index.stat().st_ino
    (folder / "tokens" / "train" / "ids.bin").write_bytes(b"half")
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
