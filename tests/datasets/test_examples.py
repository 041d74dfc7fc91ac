"""Examples one at a time: written, changed, found, paged, deleted."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.session import transaction
from app.datasets import service
from app.datasets.content import NewExample
from app.datasets.errors import (
    CopyOfAnotherError,
    EmptyExampleError,
    ExampleTooLongError,
    TooManyExamplesError,
)
from app.datasets.repository import Order
from app.datasets.service import WrittenExample
from app.errors import NotFoundError
from app.storage.folders import Storage
from tests.support.uploads import all_examples, imported, new_project


@pytest.fixture
def project_id(engine: Engine) -> str:
    return new_project(engine)


def _questions(session: Session, project_id: str, search: str) -> list[str]:
    page = service.list_examples(session, project_id, search=search)
    assert page.matching == len(page.examples)
    return sorted(example.question for example in page.examples)


def test_write_change_delete(session: Session, project_id: str) -> None:
    service.write_example(session, project_id, WrittenExample(" Hi?\r\n", "There\x00"), 10)
    [example] = service.list_examples(session, project_id).examples
    assert (example.question, example.answer) == ("Hi?", "There")
    before = example.content_hash
    service.edit_example(session, project_id, example.id, WrittenExample("Hi?", "Here", "Be brief"))
    assert example.content_hash != before
    service.delete_example(session, project_id, example.id)
    assert service.count_examples(session, project_id) == 0


def test_what_cannot_be_an_example(session: Session, project_id: str) -> None:
    for written, error in [
        (WrittenExample("", "a"), EmptyExampleError),
        (WrittenExample("q", " \n"), EmptyExampleError),
        (WrittenExample("q", "a" * 200_001), ExampleTooLongError),
    ]:
        with pytest.raises(error):
            service.write_example(session, project_id, written, 10)
    service.write_example(session, project_id, WrittenExample("q", "a"), 1)
    with pytest.raises(TooManyExamplesError):
        service.write_example(session, project_id, WrittenExample("r", "b"), 1)


def test_a_copy_is_refused_with_a_sentence(session: Session, project_id: str) -> None:
    service.write_example(session, project_id, WrittenExample("q", "a"), 10)
    service.write_example(session, project_id, WrittenExample("r", "b"), 10)
    with pytest.raises(CopyOfAnotherError):
        service.write_example(session, project_id, WrittenExample("q", "a"), 10)
    second = service.list_examples(session, project_id).examples[0]
    with pytest.raises(CopyOfAnotherError):
        service.edit_example(session, project_id, second.id, WrittenExample("q", "a"))
    service.edit_example(session, project_id, second.id, WrittenExample("r", "b"))


def test_another_projects_example_is_not_there(session: Session, project_id: str) -> None:
    other = WrittenExample("q", "a")
    service.write_example(session, project_id, other, 10)
    [example] = service.list_examples(session, project_id).examples
    for act in (service.find_example, service.delete_example):
        with pytest.raises(NotFoundError):
            act(session, "0" * 16, example.id)


def test_search_knows_case_and_takes_marks_as_they_are(session: Session, project_id: str) -> None:
    service.add_examples(
        session,
        project_id,
        [
            NewExample("a", "100% sure"),
            NewExample("b", "100 sure"),
            NewExample("c", "snake_case"),
            NewExample("ÄRGER mit dem Zoll", "d"),
            NewExample("back\\slash", "e"),
        ],
    )
    session.commit()
    assert _questions(session, project_id, "100%") == ["100% sure"]
    assert _questions(session, project_id, "SNAKE_") == ["snake_case"]
    assert _questions(session, project_id, "e_c") == ["snake_case"]
    assert _questions(session, project_id, "ärger") == ["d"]
    assert _questions(session, project_id, "k\\s") == ["e"]
    assert _questions(session, project_id, "'; drop") == []


@pytest.mark.parametrize("order", ["newest", "oldest", "row"])
def test_pages_forth_and_back(session: Session, project_id: str, order: Order) -> None:
    service.add_examples(
        session, project_id, [NewExample(str(i), f"q{i}", row_number=i % 7) for i in range(23)]
    )
    session.commit()
    forth: list[list[int]] = []
    after = None
    while True:
        page = service.list_examples(session, project_id, order=order, after=after, size=5)
        forth.append([example.id for example in page.examples])
        last = page
        after = page.next_cursor
        if after is None:
            break
    together = [identity for ids in forth for identity in ids]
    assert len(set(together)) == 23
    if order != "row":
        assert together == sorted(together, reverse=order == "newest")
    back = [forth[-1]]
    while last.previous_cursor is not None:
        last = service.list_examples(
            session, project_id, order=order, before=last.previous_cursor, size=5
        )
        back.insert(0, [example.id for example in last.examples])
    assert back == forth


def test_deleting_an_import_takes_its_examples_and_file(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    with transaction(engine) as session:
        service.write_example(session, project_id, WrittenExample("mine", "stays"), 10)
    entry = imported(engine, storage, project_id, "question,answer\na?,b\nc?,d\n")
    with transaction(engine) as session:
        assert service.delete_import(session, storage, project_id, entry.id) == 2
    assert [example.question for example in all_examples(engine, project_id)] == ["mine"]
    assert not storage.path("uploads", entry.id).exists()
