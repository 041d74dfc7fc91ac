"""What is held out, and the files that no later edit touches."""

import hashlib
import json
import random
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.datasets import service
from app.datasets.content import NewExample
from app.datasets.service import WrittenExample
from app.datasets.snapshot import Snapshot, freeze
from app.datasets.split import choose_held_out, held_out_target, split_key
from app.projects.tables import Project


@pytest.fixture
def project_id(session: Session) -> str:
    project = Project(name="p")
    session.add(project)
    session.commit()
    return project.id


@pytest.mark.parametrize(
    ("count", "target"),
    [(0, 0), (19, 0), (20, 5), (49, 5), (50, 5), (100, 10), (2_000, 200), (10**6, 200)],
)
def test_how_many_are_held_out(count: int, target: int) -> None:
    assert held_out_target(count) == target


def _held_out(questions: list[str]) -> list[str]:
    keys = [split_key(question) for question in questions]
    chosen = choose_held_out(keys, len(keys))
    return [q for q, key in zip(questions, keys, strict=True) if key in chosen]


def test_copies_never_straddle_and_bounds_hold() -> None:
    chance = random.Random(7)  # noqa: S311 (a seed for cases, not for secrets)
    for _ in range(200):
        distinct = chance.randint(1, 400)
        count = chance.randint(20, 600)
        questions = [f"Question  {chance.randrange(distinct)}" for _ in range(count)]
        varied = [q.upper() if chance.random() < 0.5 else f" {q}\n" for q in questions]
        held_out = {" ".join(q.casefold().split()) for q in _held_out(varied)}
        trained = [q for q in varied if " ".join(q.casefold().split()) not in held_out]
        held_out_examples = len(varied) - len(trained)
        assert held_out_examples <= max(held_out_target(count), count // 4)
        assert len(trained) > 0
        if distinct > 100:
            assert held_out_examples >= held_out_target(count)


def test_one_question_with_many_answers_stays_in_training() -> None:
    held_out = _held_out(["the same"] * 100 + [f"other {i}" for i in range(100)])
    assert len(held_out) == 20
    assert "the same" not in held_out
    assert _held_out(["the same"] * 100) == []


def test_order_does_not_matter_and_adding_keeps_most() -> None:
    questions = [f"question {i}" for i in range(1_000)]
    before = set(_held_out(questions))
    assert before == set(_held_out(questions[::-1]))
    more = set(_held_out([*questions, *(f"new {i}" for i in range(100))]))
    assert len(before & more) >= 85


def _lines(folder: Path, name: str) -> list[dict[str, object]]:
    text = (folder / "data" / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _fill(session: Session, project_id: str, count: int) -> None:
    service.add_examples(
        session,
        project_id,
        [
            NewExample(
                f"Answer {i} with ümlaut and\nlines",
                f"Question {i}",
                "Be kind." if i % 2 else "",
                [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
                if i % 3 == 0
                else [],
            )
            for i in range(count)
        ],
    )


def test_a_snapshot_is_written_and_never_changes(
    session: Session, project_id: str, tmp_path: Path
) -> None:
    _fill(session, project_id, 60)
    service.add_examples(session, project_id, [NewExample("A passage.")])
    snapshot = freeze(session, project_id, tmp_path / "one")
    train, validation = (
        _lines(tmp_path / "one", f"{name}.jsonl") for name in ("train", "validation")
    )
    assert (len(train), len(validation)) == (snapshot.train_count, snapshot.validation_count)
    assert snapshot.train_count + snapshot.validation_count == 61
    assert snapshot.validation_count >= 5
    data = tmp_path / "one" / "data"
    contents = (data / "train.jsonl").read_bytes() + (data / "validation.jsonl").read_bytes()
    assert hashlib.sha256(contents).hexdigest() == snapshot.sha256
    assert (data / "snapshot.sha256").read_text() == snapshot.sha256 + "\n"
    passage = next(line for line in train + validation if "text" in line)
    assert passage["text"] == "A passage."
    again = freeze(session, project_id, tmp_path / "two")
    assert again == snapshot

    for example in service.list_examples(session, project_id, size=30).examples:
        if example.question:
            service.edit_example(
                session, project_id, example.id, WrittenExample("new", str(example.id))
            )
        else:
            service.delete_example(session, project_id, example.id)
    assert (data / "train.jsonl").read_bytes() + (
        data / "validation.jsonl"
    ).read_bytes() == contents
    assert freeze(session, project_id, tmp_path / "three").sha256 != snapshot.sha256


def test_messages_stand_in_their_order(session: Session, project_id: str, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    service.add_examples(session, project_id, [NewExample("d", "c", "s", turns)])
    freeze(session, project_id, tmp_path)
    [line] = _lines(tmp_path, "train.jsonl")
    assert line["messages"] == [
        {"role": "system", "content": "s"},
        *turns,
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]


def test_too_few_examples_hold_nothing_out(
    session: Session, project_id: str, tmp_path: Path
) -> None:
    _fill(session, project_id, 19)
    snapshot = freeze(session, project_id, tmp_path)
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.train_count, snapshot.validation_count) == (19, 0)
    assert (tmp_path / "data" / "validation.jsonl").read_bytes() == b""
