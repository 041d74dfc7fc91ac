"""The data of the one-click sample projects keeps its promises."""

import json
import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from app.datasets.split import choose_held_out, split_key

SAMPLES = Path(__file__).resolve().parents[2] / "app" / "projects" / "samples"
SLUGS = ("brand_voice", "support_tickets", "reports")
SHAPES = {
    "brand_voice": re.compile(r".+[.?!] Kettle's on, friend! Warm cups, slow days\."),
    "support_tickets": re.compile(
        r".+[.!] Your Paperlark team\n"
        r"Kind: (account|complaint|damage|delivery|payment|praise|question|return)"
        r" \| Urgency: (low|normal|high)"
    ),
    "reports": re.compile(r".+\.\nWhat to do: .+\."),
}


def read_examples(slug: str) -> list[dict[str, str]]:
    text = (SAMPLES / slug / "examples.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_card(slug: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((SAMPLES / slug / "sample.json").read_text(encoding="utf-8"))
    return card


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


def test_every_folder_is_checked() -> None:
    folders = {card.parent.name for card in SAMPLES.glob("*/sample.json")}
    assert folders == set(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_examples_are_enough_and_whole(slug: str) -> None:
    examples = read_examples(slug)
    assert 150 <= len(examples) <= 300
    for row, example in enumerate(examples, start=1):
        keys = set(example)
        assert keys - {"instructions"} == {"question", "answer"}, f"row {row}: {sorted(keys)}"
        for key, value in example.items():
            assert isinstance(value, str), f"row {row}: {key} is no text"
            assert value.strip() == value != "", (
                f"row {row}: {key} is empty or has blanks around it"
            )
        words = len(example["answer"].split())
        assert 10 <= words <= 60, f"row {row}: the answer has {words} words"


@pytest.mark.parametrize("slug", SLUGS)
def test_no_question_twice(slug: str) -> None:
    questions = [plain(example["question"]) for example in read_examples(slug)]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_held_out_can_be_learned_from_the_rest(slug: str) -> None:
    examples = read_examples(slug)
    keys = [split_key(example["question"]) for example in examples]
    held_out = choose_held_out(keys, len(examples))
    answers = [example["answer"].split() for example in examples]
    learned = [answer for key, answer in zip(keys, answers, strict=True) if key not in held_out]
    for key, example, answer in zip(keys, examples, answers, strict=True):
        if key in held_out:
            nearest = max(SequenceMatcher(None, answer, other).ratio() for other in learned)
            assert nearest > 0.75, f"nothing teaches the answer to: {example['question']}"


@pytest.mark.parametrize("slug", SLUGS)
def test_answers_keep_their_voice(slug: str) -> None:
    for row, example in enumerate(read_examples(slug), start=1):
        assert SHAPES[slug].fullmatch(example["answer"]), f"row {row}: {example['answer']}"


def test_figures_of_reports_come_from_the_note() -> None:
    for row, example in enumerate(read_examples("reports"), start=1):
        given = set(re.findall(r"\d+", example["question"]))
        told = set(re.findall(r"\d+", example["answer"]))
        assert told <= given, f"row {row}: {sorted(told - given)} is not in the note"


@pytest.mark.parametrize("slug", SLUGS)
def test_card(slug: str) -> None:
    card = read_card(slug)
    assert set(card) == {"slug", "name", "goal", "summary", "question_to_try", "what_changes"}
    assert card["slug"] == slug
    assert all(card[key].strip() for key in ("name", "goal", "summary", "what_changes"))
    asked = [plain(question) for question in card["question_to_try"]]
    assert len(set(asked)) == 3
    assert not set(asked) & {plain(example["question"]) for example in read_examples(slug)}
