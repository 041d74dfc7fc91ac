"""What can be done with examples and imports."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Self

from sqlalchemy.orm import Session

from app.audit.service import Action, Thing, record
from app.datasets.content import NewExample, cleaned
from app.datasets.errors import (
    CopyOfAnotherError,
    EmptyExampleError,
    ExampleTooLongError,
    ImportNotWaitingError,
    KindTooLongError,
    SameAnswersError,
    TooManyExamplesError,
)
from app.datasets.mapping import check_mapping
from app.datasets.readers.drafts import Mapping
from app.datasets.readers.limits import MAX_EXAMPLE_CHARACTERS
from app.datasets.repository import Cursor, ExampleRepository, ImportRepository, Order, cursor_of
from app.datasets.shapes import LONGEST_KIND, Shape
from app.datasets.split import held_out_target
from app.datasets.tables import Example, Import, ImportStatus
from app.datasets.uploads import (
    remove_abandoned_uploads,
    remove_orphaned_folders,
    remove_upload,
)
from app.datasets.wording import shown_name
from app.errors import NotFoundError
from app.jobs import IMPORT_EXAMPLES, INSPECT_IMPORT, send_after_commit
from app.storage.folders import Storage

PAGE_SIZE: Final = 50
MOST_COUNTED: Final = 1_000
"""What a search finds is counted so far and no further."""
CLOSED: Final = frozenset({ImportStatus.IMPORTED, ImportStatus.FAILED})
"""Statuses in which nothing more happens to an import."""
_BATCH: Final = 500
DELETE_AT_ONCE: Final = 5_000
"""So many examples are deleted in one transaction; fewer were there if fewer are deleted."""


@dataclass(frozen=True)
class Added:
    added: int
    duplicates: int


@dataclass(frozen=True)
class ExamplePage:
    examples: list[Example]
    matching: int
    """How many there are in all that the search finds."""
    next_cursor: Cursor | None
    previous_cursor: Cursor | None


@dataclass(frozen=True)
class WrittenExample:
    """What a person wrote into the form."""

    question: str
    answer: str
    instructions: str = ""
    shape: Shape = Shape.ANSWER
    rejected: str = ""
    """Of two answers the one that people like less."""
    is_liked: bool = True
    """The thumb of an answer that has one."""

    @classmethod
    def of(cls, example: Example) -> Self:
        return cls(
            example.question,
            example.answer,
            example.instructions,
            Shape(example.shape),
            example.rejected,
            example.is_liked is not False,
        )


def add_examples(session: Session, project_id: str, examples: Iterable[NewExample]) -> Added:
    """Add examples; exact copies of what is there are dropped and counted."""
    repository = ExampleRepository(session)
    added = seen = 0
    for batch in _batches(examples):
        different = {example.content_hash: example for example in batch}
        added += len(repository.add(project_id, list(different.values())))
        seen += len(batch)
    return Added(added, seen - added)


def count_examples(session: Session, project_id: str) -> int:
    return ExampleRepository(session).count(project_id)


def held_out_count(example_count: int) -> int:
    """Return about how many of so many examples a training holds out; 0 below 20."""
    return held_out_target(example_count)


def find_example(session: Session, project_id: str, example_id: int) -> Example:
    """Return an example of the project.

    Raises:
        NotFoundError: if the project has none with this id.
    """
    example = ExampleRepository(session).find(project_id, example_id)
    if example is None:
        raise NotFoundError("This example does not exist.")
    return example


def write_example(
    session: Session, project_id: str, written: WrittenExample, max_examples: int
) -> None:
    """Add one example that was written by hand.

    Raises:
        EmptyExampleError, KindTooLongError, SameAnswersError, ExampleTooLongError,
        CopyOfAnotherError, TooManyExamplesError
    """
    example = _checked(written)
    if count_examples(session, project_id) >= max_examples:
        raise TooManyExamplesError(max_examples)
    if not ExampleRepository(session).add(project_id, [example]):
        raise CopyOfAnotherError


def edit_example(
    session: Session, project_id: str, example_id: int, written: WrittenExample
) -> Example:
    """Change an example. Runs that have started keep what they froze.

    Raises:
        NotFoundError, EmptyExampleError, KindTooLongError, SameAnswersError,
        ExampleTooLongError, CopyOfAnotherError
    """
    example = find_example(session, project_id, example_id)
    # What an example is made of stays: a passage does not become an answer by being mended.
    new = replace(
        _checked(replace(written, shape=Shape(example.shape))),
        earlier_turns=list(example.earlier_turns or ()),
    )
    if ExampleRepository(session).has_copy(project_id, new.content_hash, besides=example_id):
        raise CopyOfAnotherError
    example.question, example.answer = new.question, new.answer
    example.rejected, example.is_liked = new.rejected, new.is_liked
    example.instructions, example.content_hash = new.instructions, new.content_hash
    session.flush()
    return example


def delete_example(session: Session, project_id: str, example_id: int) -> None:
    ExampleRepository(session).delete(find_example(session, project_id, example_id))


def list_examples(
    session: Session,
    project_id: str,
    *,
    search: str = "",
    order: Order = "newest",
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> ExamplePage:
    """Return one page. It begins after or ends before a place, so it is quick wherever it lies."""
    repository = ExampleRepository(session)
    search = cleaned(search)[:200]
    found = repository.page(
        project_id, search=search, order=order, size=size + 1, after=after, before=before
    )
    has_more = len(found) > size
    if before is not None:
        examples = found[-size:]
        has_next, has_previous = True, has_more
    else:
        examples = found[:size]
        has_next, has_previous = has_more, after is not None
    return ExamplePage(
        examples,
        _matching(repository, project_id, search, None if after or before else found),
        cursor_of(examples[-1]) if examples and has_next else None,
        cursor_of(examples[0]) if examples and has_previous else None,
    )


def _matching(
    repository: ExampleRepository, project_id: str, search: str, first_page: list[Example] | None
) -> int:
    if not search:
        return repository.count(project_id)
    if first_page is not None and len(first_page) <= PAGE_SIZE:
        # All that was found is on the page: no need to look through everything again.
        return len(first_page)
    return repository.count_found(project_id, search, MOST_COUNTED)


def register_upload(
    session: Session, *, project_id: str, user_id: str, import_id: str, file_name: str, size: int
) -> Import:
    """Write down a file that lies in its place, and ask a worker to look into it.

    Done a second time, because nobody knew how the first time ended, it changes nothing.
    """
    known = ImportRepository(session).find(import_id)
    if known is not None:
        return known
    entry = Import(
        id=import_id,
        project_id=project_id,
        created_by_id=user_id,
        file_name=shown_name(file_name),
        size_bytes=size,
    )
    ImportRepository(session).add(entry)
    send_after_commit(session, INSPECT_IMPORT, entry.id)
    return entry


def list_imports(session: Session, project_id: str) -> list[Import]:
    return ImportRepository(session).of_project(project_id)


def find_import(session: Session, project_id: str, import_id: str) -> Import:
    """Return an import of the project.

    Raises:
        NotFoundError: if the project has none with this id.
    """
    entry = ImportRepository(session).find_in_project(project_id, import_id)
    if entry is None:
        raise NotFoundError("This import does not exist.")
    return entry


def confirm_import(session: Session, project_id: str, import_id: str, mapping: Mapping) -> Import:
    """Take the maker's choice of columns, and ask a worker to import.

    Raises:
        NotFoundError, ImportNotWaitingError, UnusableMappingError
    """
    entry = find_import(session, project_id, import_id)
    if entry.understood is None:
        raise ImportNotWaitingError
    check_mapping(entry.understood, mapping)
    if not ImportRepository(session).confirm(entry.id, mapping.as_json()):
        raise ImportNotWaitingError
    record(session, Action.IMPORT_CONFIRMED, _thing(entry), project=project_id)
    send_after_commit(session, IMPORT_EXAMPLES, entry.id)
    return entry


def delete_some_of_import(session: Session, project_id: str, import_id: str) -> int:
    """Delete some of an import's examples, DELETE_AT_ONCE at most.

    For the edge, which calls it in transactions of their own before `delete_import`: on SQLite
    everyone else who writes waits for the one that deletes.
    """
    entry = find_import(session, project_id, import_id)
    return ExampleRepository(session).delete_of_import(entry.id, DELETE_AT_ONCE)


def delete_some_of_project(session: Session, project_id: str) -> int:
    """Delete some of a project's examples, as `delete_some_of_import` does."""
    return ExampleRepository(session).delete_some_of_project(project_id, DELETE_AT_ONCE)


def delete_import(session: Session, storage: Storage, project_id: str, import_id: str) -> int:
    """Delete an import with its examples and its file; a worker that is at it stops by itself.

    Returns:
        How many examples went with it.
    """
    entry = find_import(session, project_id, import_id)
    deleted = ExampleRepository(session).delete_of_import(entry.id)
    ImportRepository(session).delete(entry.id)
    record(session, Action.IMPORT_DELETED, _thing(entry), project=project_id)
    remove_upload(storage, entry.id)
    return deleted


def remove_orphaned_uploads(session: Session, storage: Storage) -> int:
    """Delete half-sent files, and upload folders that no import names, once an hour old."""
    half_sent = remove_abandoned_uploads(storage)
    return half_sent + remove_orphaned_folders(storage, ImportRepository(session).all_ids())


def _thing(entry: Import) -> Thing:
    return Thing("import", entry.id, entry.file_name)


def _checked(written: WrittenExample) -> NewExample:
    shape = written.shape
    question, answer = cleaned(written.question), cleaned(written.answer)
    instructions, rejected = cleaned(written.instructions), cleaned(written.rejected)
    if shape is Shape.PASSAGE:
        question = ""
    elif not question:
        raise EmptyExampleError("question")
    if shape is Shape.LABEL:
        answer, instructions = " ".join(answer.split()), ""
        if len(answer) > LONGEST_KIND:
            raise KindTooLongError(LONGEST_KIND)
    if not answer:
        raise EmptyExampleError("kind" if shape is Shape.LABEL else "answer")
    if shape is not Shape.PAIR:
        rejected = ""
    elif not rejected:
        raise EmptyExampleError("rejected")
    elif rejected == answer:
        raise SameAnswersError
    characters = len(question) + len(answer) + len(instructions) + len(rejected)
    if characters > MAX_EXAMPLE_CHARACTERS:
        raise ExampleTooLongError(characters, MAX_EXAMPLE_CHARACTERS)
    return NewExample(
        answer=answer,
        question=question,
        instructions=instructions,
        rejected=rejected,
        is_liked=written.is_liked if shape is Shape.THUMB else None,
        is_label=shape is Shape.LABEL,
    )


def _batches(examples: Iterable[NewExample]) -> Iterator[list[NewExample]]:
    iterator = iter(examples)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
