"""The examples of the sweep: the sample projects, and the files to try Tailor with by hand.

A case is written `NAME`, `NAME@ROWS` or `NAME@ROWS#DRAW`: all rows, or so many drawn at random.
What is held out follows the product's own rule, so 20 rows leave 5 and 10,000 leave 200.
"""

import csv
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.datasets.readers.passages import split_passage
from app.datasets.split import choose_held_out, split_key

JsonObject = dict[str, Any]
REPOSITORY: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = REPOSITORY / "app" / "projects" / "samples"
_DRAW_SEED: Final = 20261125


@dataclass(frozen=True)
class Split:
    """Examples as a run's folder holds them."""

    train: list[JsonObject]
    held_out: list[JsonObject]


def read_case(case: str, shared: Path) -> Split:
    """Return the examples of a case.

    Args:
        case: as above.
        shared: the folder with the files to try by hand.

    Raises:
        KeyError: if there is no such data set.
    """
    name, _, size = case.partition("@")
    rows = _sources(shared)[name]()
    if size:
        count, _, draw = size.partition("#")
        chooser = random.Random(f"{_DRAW_SEED} {name} {draw}")  # noqa: S311 (no secret)
        rows = chooser.sample(rows, min(int(count), len(rows)))
    numbered = [{"id": number, **row} for number, row in enumerate(rows)]
    chosen = choose_held_out((_key(row) for row in numbered), len(numbered))
    return Split(
        [row for row in numbered if _key(row) not in chosen],
        [row for row in numbered if _key(row) in chosen],
    )


def _sources(shared: Path) -> dict[str, Callable[[], list[JsonObject]]]:
    return {
        "voice": lambda: _sample("brand_voice"),
        "tickets": lambda: _sample("support_tickets"),
        "reports": lambda: _sample("reports"),
        "alpaca": lambda: _alpaca(shared / "alpaca_en_demo.json"),
        "kinds": lambda: _kinds(shared / "banking77_train.csv"),
        "web": lambda: _web(shared / "c4_demo.jsonl"),
        "manual": lambda: _passages([_text(shared / "starlette_middleware.md")]),
    }


def _sample(folder: str) -> list[JsonObject]:
    lines = _text(SAMPLES / folder / "examples.jsonl").splitlines()
    return _different(
        _conversation(row["question"], row["answer"]) for row in map(json.loads, lines)
    )


def _alpaca(file: Path) -> list[JsonObject]:
    return _different(
        _conversation(f"{row['instruction']}\n{row.get('input', '')}".strip(), row["output"])
        for row in json.loads(_text(file))
    )


def _kinds(file: Path) -> list[JsonObject]:
    with file.open(encoding="utf-8", newline="") as rows:
        return _different(
            _conversation(row["text"].strip(), row["category"]) for row in csv.DictReader(rows)
        )


def _web(file: Path) -> list[JsonObject]:
    return _passages(json.loads(line)["text"] for line in _text(file).splitlines())


def _passages(texts: Iterable[str]) -> list[JsonObject]:
    return _different({"text": piece} for text in texts for piece in split_passage(text))


def _conversation(question: str, answer: str) -> JsonObject:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def _different(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """Leave out exact copies, as an import does."""
    return list({json.dumps(row, sort_keys=True): row for row in rows}.values())


def _key(row: JsonObject) -> str:
    return split_key(row["text"] if "text" in row else row["messages"][0]["content"])


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
