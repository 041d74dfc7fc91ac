"""What can be done with examples and imports."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Self, TypeVar

from sqlalchemy.orm import Session

from app.audit.service import Action, Thing, record
from app.datasets.content import NewExample, cleaned
from app.datasets.errors import (
    ChangedMeanwhileError,
    CopyOfAnotherError,
    DeletedMeanwhileError,
    EmptyExampleError,
    ExampleTooLongError,
    ImportNotWaitingError,
    KindTooLongError,
    SameAnswersError,
    TooManyExamplesError,
    UnknownEncodingError,
)
from app.datasets.mapping import check_mapping
from app.datasets.readers.drafts import Mapping
from app.datasets.readers.limits import MAX_EXAMPLE_CHARACTERS
from app.datasets.repository import (
    Cursor,
    ExampleRepository,
    ImportCursor,
    ImportRepository,
    Order,
    cursor_of,
    import_cursor_of,
)
from app.datasets.shapes import LONGEST_KIND, Shape
from app.datasets.split import held_out_target
from app.datasets.tables import Example, Import, ImportStatus
from app.datasets.uploads import (
    remove_abandoned_uploads,
    remove_orphaned_folders,
    remove_upload,
)
from app.datasets.wording import OFFERED_ENCODINGS, shown_name
from app.errors import NotFoundError
from app.jobs import IMPORT_EXAMPLES, INSPECT_IMPORT, send_after_commit
from app.storage.folders import Storage

PAGE_SIZE: Final = 50
"""Of examples, and of uploads."""
MOST_COUNTED: Final = 1_000
"""What a search finds is counted so far and no further."""
CLOSED: Final = frozenset({ImportStatus.IMPORTED, ImportStatus.FAILED})
"""Statuses in which nothing more happens to an import."""
_BATCH: Final = 500
Row = TypeVar("Row")
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
class ImportPage:
    imports: list[Import]
    total: int
    """How many there are in all."""
    next_cursor: ImportCursor | None
    previous_cursor: ImportCursor | None


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
    return _known(ExampleRepository(session).find(project_id, example_id))


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
    session: Session,
    project_id: str,
    example_id: int,
    written: WrittenExample,
    shown_hash: str | None = None,
) -> Example:
    """Change an example. Runs that have started keep what they froze.

    The content hash of what the writer was shown tells whether someone else has written since;
    None does not ask.

    Raises:
        EmptyExampleError, KindTooLongError, SameAnswersError,
        ExampleTooLongError, CopyOfAnotherError
        DeletedMeanwhileError: if the project has none with this id, or no longer.
        ChangedMeanwhileError: if it says something else by now than what the writer saw.
    """
    example = ExampleRepository(session).hold(project_id, example_id)
    if example is None:
        raise DeletedMeanwhileError
    # What an example is made of stays: a passage does not become an answer by being mended.
    new = replace(
        _checked(replace(written, shape=Shape(example.shape))),
        earlier_turns=list(example.earlier_turns or ()),
    )
    if new.content_hash == example.content_hash:
        return example
    if shown_hash is not None and shown_hash != example.content_hash:
        raise ChangedMeanwhileError
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
    """Return one page. It begins after or ends before a place, so it is quick wherever it lies.

    Where nothing is left beyond the place, the list begins anew.
    """
    repository = ExampleRepository(session)
    search = cleaned(search)[:200]
    found = repository.page(
        project_id, search=search, order=order, size=size + 1, after=after, before=before
    )
    if not found and (after or before):
        return list_examples(session, project_id, search=search, order=order, size=size)
    examples, has_next, has_previous = _cut(found, size, after=after, before=before)
    return ExamplePage(
        examples,
        _matching(repository, project_id, search, None if after or before else found),
        cursor_of(examples[-1]) if examples and has_next else None,
        cursor_of(examples[0]) if examples and has_previous else None,
    )


def _cut(
    found: list[Row], size: int, *, after: object | None, before: object | None
) -> tuple[list[Row], bool, bool]:
    """Return one page of what was found, of which one more was asked for than fits.

    Returns:
        The page, whether there is a next one, and whether there is one before it.
    """
    has_more = len(found) > size
    if before is not None:
        return found[-size:], True, has_more
    return found[:size], has_more, after is not None


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


def list_imports(
    session: Session,
    project_id: str,
    *,
    after: ImportCursor | None = None,
    before: ImportCursor | None = None,
    size: int = PAGE_SIZE,
) -> ImportPage:
    """Return one page of a project's uploads, the newest first, as `list_examples` does."""
    repository = ImportRepository(session)
    found = repository.page(project_id, size=size + 1, after=after, before=before)
    if not found and (after or before):
        return list_imports(session, project_id, size=size)
    imports, has_next, has_previous = _cut(found, size, after=after, before=before)
    return ImportPage(
        imports,
        repository.count(project_id),
        import_cursor_of(imports[-1]) if imports and has_next else None,
        import_cursor_of(imports[0]) if imports and has_previous else None,
    )


def open_imports(session: Session, project_id: str) -> list[Import]:
    """Return all uploads with which something is still to happen, however old they are."""
    return ImportRepository(session).all_but(project_id, CLOSED)


def count_imports(session: Session, project_id: str) -> int:
    return ImportRepository(session).count(project_id)


def find_import(session: Session, project_id: str, import_id: str) -> Import:
    """Return an import of the project.

    Raises:
        NotFoundError: if the project has none with this id.
    """
    entry = ImportRepository(session).find_in_project(project_id, import_id)
    if entry is None:
        raise NotFoundError("This import does not exist.")
    return entry


def files_with_its_copies(session: Session, entry: Import) -> list[str]:
    """Return the names of files that may have held rows of this one too.

    They came when its examples were there already, so such rows were dropped from them as copies,
    and nothing is left of these rows once the examples of this one are deleted.
    """
    imports = ImportRepository(session)
    names = imports.names_with_copies_since(entry.project_id, entry.created_at, besides=entry.id)
    return list(dict.fromkeys(names))


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


def read_anew(session: Session, project_id: str, import_id: str, encoding: str) -> Import:
    """Ask a worker to look into an upload once more, in the encoding that the maker chose.

    Raises:
        NotFoundError, ImportNotWaitingError, UnknownEncodingError
    """
    entry = find_import(session, project_id, import_id)
    if encoding not in OFFERED_ENCODINGS:
        raise UnknownEncodingError
    understood = {**(entry.understood or {}), "chosen_encoding": encoding}
    if not ImportRepository(session).read_anew(entry.id, understood):
        raise ImportNotWaitingError
    send_after_commit(session, INSPECT_IMPORT, entry.id)
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


def _known(example: Example | None) -> Example:
    if example is None:
        raise NotFoundError("This example does not exist.")
    return example


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
