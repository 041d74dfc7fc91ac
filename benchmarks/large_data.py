"""How large data is read: the time until a run learns, and the memory that it takes meanwhile.

    python benchmarks/large_data.py                        # 10 MB and 1 GB
    python benchmarks/large_data.py --small 5 --large 250  # MB

Makes two sets of invented conversations, one a hundred times the other, and does with each what a
training process does, on the built-in base model: it builds the token cache (the large one with one
process on a tenth of the data, and on all cores with all of it), and then starts again with the
cache ready, as a run that goes on does, and is timed until its first update is done. Peaks are
those of the training process (VmHWM); its helpers are counted apart. Needs about four times the
large set on the disk, which is given back.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from app.base_models.service import STARTER_FOLDER  # noqa: E402
from tests.support.run_folders import recipe_for  # noqa: E402
from worker.training.examples import data_sha256  # noqa: E402

WORDS = (
    *("order", "parcel", "cup", "saucer", "return", "money", "invoice", "Tuesday", "Norway"),
    *("please", "thank", "you", "we", "send", "it", "the", "a", "blue", "broken", "again", "soon"),
)
HELD_OUT = 200

_BUILD = """
import json, resource, sys, time
from pathlib import Path
from app.runs.recipe import Recipe
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import AnswerEncoder
from worker.training.model import load_tokenizer
from worker.training.tokens import prepare_tokens
folder, processes = Path(sys.argv[1]), int(sys.argv[2])
recipe = Recipe.read(folder)
chat = ChatFormat(load_tokenizer(recipe))
started = time.perf_counter()
tables = prepare_tokens(
    folder, chat, AnswerEncoder(chat), recipe.max_tokens_per_example, recipe.snapshot_sha256,
    lambda: None, processes=processes,
)
seconds = time.perf_counter() - started
own, helpers = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
print(json.dumps({
    "seconds": seconds,
    "rows": len(tables.train), "tokens": tables.train.counts.tokens,
    "peak": resource.getrusage(own).ru_maxrss * 1024,
    "helper_peak": resource.getrusage(helpers).ru_maxrss * 1024,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10, help="MB of the small set")
    parser.add_argument("--large", type=int, default=1000, help="MB of the large set")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        tenth = make_run(root / "tenth", arguments.large / 10)
        print_build("one process, a tenth of the large set", build(tenth, processes=1))
        for name, megabytes, processes in (
            ("small", arguments.small, 1),
            ("large", arguments.large, arguments.cores),
        ):
            folder = make_run(root / name, megabytes)
            print_build(f"{processes} processes, {megabytes} MB", build(folder, processes))
            print_start(f"cache ready, {megabytes} MB", start(folder))


def make_run(folder: Path, megabytes: float) -> Path:
    """Write a run's folder with invented conversations of about 700 bytes each."""
    (folder / "data").mkdir(parents=True)
    chance = random.Random(3)  # noqa: S311 (the same data each time)
    with (folder / "data" / "validation.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(line for _, line in zip(range(HELD_OUT), lines(chance), strict=False))
    written = 0
    with (folder / "data" / "train.jsonl").open("w", encoding="utf-8") as file:
        for line in lines(chance):
            file.write(line)
            written += len(line)
            if written > megabytes * 1e6:
                break
    recipe = recipe_for(
        STARTER_FOLDER, epochs=1, examples_per_update=8, snapshot_sha256=data_sha256(folder)
    )
    (folder / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    return folder


def lines(chance: random.Random) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        question, answer = (
            " ".join(chance.choices(WORDS, k=chance.randrange(20, most))) for most in (60, 140)
        )
        messages = [
            {"role": "user", "content": f"{number}. {question}?"},
            {"role": "assistant", "content": f"{answer}."},
        ]
        yield json.dumps({"id": number, "messages": messages}) + "\n"


def build(folder: Path, processes: int) -> dict[str, Any]:
    """Build the token cache in a fresh process."""
    output = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder), str(processes)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {**json.loads(output), "bytes": (folder / "data" / "train.jsonl").stat().st_size}


def start(folder: Path) -> dict[str, Any]:
    """Start the training process, and end it after its first updates."""
    began = time.perf_counter()
    marks: dict[str, float] = {}
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "worker.training.main"),
            *("--run-folder", str(folder), "--fence", "1"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None  # noqa: S101 (it was asked for above)
        for line in child.stdout:
            event = json.loads(line)
            name = event.get("phase") or event["event"]
            marks.setdefault(name, time.perf_counter() - began)
            if event["event"] == "progress" and event["step"] >= 1:
                break
        peak = peak_bytes(child.pid)
        child.kill()
    return {"marks": marks, "peak": peak}


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def print_build(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name}: {found['rows']:,} rows, {found['tokens']:,} tokens in {found['seconds']:.1f} s, "
        f"{found['bytes'] / found['seconds'] / 1e6:.2f} MB/s; peak {found['peak'] / 1e6:.0f} MB, "
        f"largest helper {found['helper_peak'] / 1e6:.0f} MB"
    )


def print_start(name: str, found: dict[str, Any]) -> None:
    marks = found["marks"]
    print(
        f"{name}: examples checked and mapped after {marks['loading_model']:.1f} s, first update "
        f"after {marks['progress']:.1f} s ({marks['progress'] - marks['training']:.1f} s of it "
        f"learning); peak {found['peak'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
