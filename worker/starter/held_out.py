"""The questions that the practice text never asks, and how their answers were judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

QUESTIONS_FILE = Path(__file__).parent / "held_out_questions.json"
JUDGEMENTS_FILE = Path(__file__).parent / "judgements.json"


@dataclass(frozen=True)
class HeldOutQuestion:
    number: int
    kind: str
    question: str


@dataclass(frozen=True)
class Judgement:
    """Belongs to one exact answer: a new answer must be judged anew."""

    number: int
    answer: str
    good: bool
    remark: str


def held_out_questions() -> list[HeldOutQuestion]:
    entries = json.loads(QUESTIONS_FILE.read_text(encoding="utf-8"))
    return [HeldOutQuestion(**entry) for entry in entries]


def judgements() -> dict[int, Judgement]:
    if not JUDGEMENTS_FILE.exists():
        return {}
    entries = json.loads(JUDGEMENTS_FILE.read_text(encoding="utf-8"))
    return {entry["number"]: Judgement(**entry) for entry in entries}
