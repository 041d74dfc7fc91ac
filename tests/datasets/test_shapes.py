"""Two answers, thumbs and kinds: recognised in files, kept, held out fairly, and frozen."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.datasets import service
from app.datasets.content import NewExample
from app.datasets.errors import EmptyExampleError, SameAnswersError
from app.datasets.readers.drafts import Mapping
from app.datasets.readers.records import ColumnRole
from app.datasets.service import WrittenExample
from app.datasets.shapes import Purpose, Shape
from app.datasets.snapshot import freeze
from app.projects.tables import Project
from tests.support.uploads import ReadFile, json_lines, read

MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi?"}]
GOOD = [{"role": "assistant", "content": "Hello."}]
BAD = [{"role": "assistant", "content": "What?"}]


def _judged(result: ReadFile) -> list[tuple[Any, ...]]:
    fields = ("instructions", "question", "answer", "rejected", "is_liked")
    return [tuple(example[name] for name in fields) for example in result.examples]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": MESSAGES, "chosen": GOOD, "rejected": BAD},
        {"chosen": [*MESSAGES, *GOOD], "rejected": [*MESSAGES, *BAD], "score_chosen": 8.5},
        {
            "input": {"messages": MESSAGES, "tools": [], "parallel_tool_calls": True},
            "preferred_output": GOOD,
            "non_preferred_output": BAD,
        },
    ],
    ids=["trl", "trl with the prompt in both", "openai"],
)
def test_preference_files_in_every_usual_form(tmp_path: Path, row: dict[str, Any]) -> None:
    result = read(tmp_path, json_lines([row] * 2))
    assert _judged(result) == [("Be short.", "Hi?", "Hello.", "What?", None)] * 2
    assert "pairs" in result.notes


def test_a_table_with_a_better_and_a_worse_answer(tmp_path: Path) -> None:
    table = "prompt,chosen,rejected\nHi?,Hello.,What?\nYo?,Hey.,Hey.\nSo?,Yes.,\n"
    result = read(tmp_path, table)
    assert result.roles == ["question", "answer", "rejected"]
    assert _judged(result) == [("", "Hi?", "Hello.", "What?", None)]
    assert result.reasons == [(3, "same_answers"), (4, "no_second_answer")]


def test_conversations_that_differ_before_the_answer_are_left_out(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "Bye?"}]
    row = {"chosen": [*MESSAGES[1:], *GOOD], "rejected": [*other, *BAD]}
    assert read(tmp_path, json_lines([row])).reasons == [(1, "different_questions")]


@pytest.mark.parametrize("thumbs", [("true", "false"), ("👍", "👎"), ("Thumbs up", "Thumbs down")])
def test_thumbs_beside_questions_and_answers(tmp_path: Path, thumbs: tuple[str, str]) -> None:
    up, down = thumbs
    rows = f"prompt,completion,label\nHi?,Hello.,{up}\nHi?,What?,{down}\nYo?,Hey.,\n"
    result = read(tmp_path, rows)
    assert result.roles == ["question", "answer", "thumb"]
    assert _judged(result) == [("", "Hi?", "Hello.", "", True), ("", "Hi?", "What?", "", False)]
    assert result.reasons == [(4, "no_thumb")]


def test_thumbs_as_trl_writes_them(tmp_path: Path) -> None:
    rows = [{"prompt": MESSAGES, "completion": BAD, "label": False}] * 2
    assert _judged(read(tmp_path, json_lines(rows)))[0] == ("Be short.", "Hi?", "What?", "", False)


def test_kinds_are_kept_as_kinds(tmp_path: Path) -> None:
    rows = "".join(f"message {i},{'spam' if i % 2 else '  good   mail '}\n" for i in range(8))
    result = read(tmp_path, "text,category\n" + rows + "message 9,\n" + f"x,{'long ' * 20}\n")
    assert result.roles == ["question", "answer"]  # a category of 100 characters is none
    mapping = Mapping([ColumnRole.QUESTION, ColumnRole.KIND])
    result = read(tmp_path, "text,category\n" + rows + "message 9,\n", mapping)
    assert {example["answer"] for example in result.examples} == {"spam", "good mail"}
    assert all(example["is_label"] for example in result.examples)
    assert result.reasons == [(10, "empty_kind")]


@pytest.fixture
def project_id(session: Session) -> str:
    project = Project(name="p")
    session.add(project)
    session.commit()
    return project.id


def _frozen(session: Session, project_id: str, folder: Path, purpose: Purpose) -> dict[str, Any]:
    freeze(session, project_id, folder, purpose)
    return {
        name: [
            json.loads(line)
            for line in (folder / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()
        ]
        for name in ("train", "validation")
    }


def test_one_example_serves_several_purposes(
    session: Session, project_id: str, tmp_path: Path
) -> None:
    added = service.add_examples(
        session,
        project_id,
        [
            NewExample("Hello.", "Hi?", "Be short.", rejected="What?"),
            NewExample("Hello.", "Hi?", "Be short."),
            NewExample("Fine.", "How?", is_liked=True),
            NewExample("Go.", "How?", is_liked=False),
            NewExample("spam", "Buy!", is_label=True),
            NewExample("A passage."),
        ],
    )
    assert (added.added, added.duplicates) == (6, 0)
    lines = {
        purpose: _frozen(session, project_id, tmp_path / purpose, purpose)["train"]
        for purpose in Purpose
    }
    answers = [line["messages"][-1]["content"] for line in lines[Purpose.ANSWERS][:-1]]
    assert answers == ["Hello.", "Hello.", "Fine.", "spam"]  # nothing that people disliked
    assert lines[Purpose.ANSWERS][-1]["text"] == "A passage."
    assert [line["text"] for line in lines[Purpose.TEXTS]] == ["A passage."]
    [pair] = lines[Purpose.PAIRS]
    assert (pair["prompt"][0]["content"], pair["chosen"], pair["rejected"]) == (
        *("Be short.", "Hello.", "What?"),
    )
    thumbs = [(line["answer"], line["liked"]) for line in lines[Purpose.THUMBS]]
    assert thumbs == [("Hello.", True), ("What?", False), ("Fine.", True), ("Go.", False)]
    [label] = lines[Purpose.KINDS]
    assert (label["text"], label["kind"]) == ("Buy!", "spam")


def test_each_kind_is_held_out_and_each_is_learned(
    session: Session, project_id: str, tmp_path: Path
) -> None:
    kinds = ["common"] * 70 + ["seldom"] * 4 + ["twice"] * 2 + ["once"]
    examples = [NewExample(kind, f"text {i}", is_label=True) for i, kind in enumerate(kinds)]
    service.add_examples(session, project_id, examples)
    frozen = _frozen(session, project_id, tmp_path, Purpose.KINDS)
    held_out = Counter(line["kind"] for line in frozen["validation"])
    assert held_out == {"common": 7, "seldom": 1, "twice": 1}
    assert {line["kind"] for line in frozen["train"]} == set(kinds)


def test_answers_that_come_again_can_be_sorted_by(
    session: Session, project_id: str, tmp_path: Path
) -> None:
    examples = [NewExample(("yes", "no")[i % 2], f"text {i}") for i in range(40)]
    service.add_examples(session, project_id, examples)
    frozen = _frozen(session, project_id, tmp_path, Purpose.KINDS)
    assert Counter(line["kind"] for line in frozen["validation"]) == {"yes": 2, "no": 2}


def test_writing_and_mending_by_hand(session: Session, project_id: str) -> None:
    with pytest.raises(EmptyExampleError):
        service.write_example(session, project_id, WrittenExample("a", "b", shape=Shape.PAIR), 9)
    same = WrittenExample("a", "b", shape=Shape.PAIR, rejected=" b ")
    with pytest.raises(SameAnswersError):
        service.write_example(session, project_id, same, 9)
    service.write_example(
        session, project_id, WrittenExample("a", "b", shape=Shape.PAIR, rejected="c"), 9
    )
    [pair] = service.list_examples(session, project_id, search="c").examples
    mended = service.edit_example(
        session, project_id, pair.id, WrittenExample("a", "b", rejected="d")
    )
    assert (mended.shape, mended.rejected) == (Shape.PAIR, "d")
    service.write_example(session, project_id, WrittenExample("a", "b"), 9)  # no copy of the pair
