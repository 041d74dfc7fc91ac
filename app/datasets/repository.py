"""All SQL about examples and imports."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection as SqliteConnection
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import now
from app.database.base import database_epoch
from app.datasets.content import NewExample
from app.datasets.shapes import ExampleTexts, Shape
from app.datasets.tables import Example, Import, ImportStatus

_EXAMPLES = cast("Table", Example.__table__)

Order = Literal["newest", "oldest", "row"]
_NO_ROW = 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Cursor:
    """A place in a list: between two examples."""

    row: int
    id: int


@dataclass(frozen=True)
class ImportCursor:
    """A place in the list of uploads: between two of them."""

    moment: int
    """When the one beside it was uploaded, in microseconds since 1970."""
    id: str


class ExampleRepository:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, project_id: str, examples: Sequence[NewExample]) -> set[str]:
        """Insert those that are not there yet.

        Returns:
            The content hashes of those that were inserted.
        """
        if not examples:
            return set()
        moment = now()
        rows = [
            {
                "project_id": project_id,
                "import_id": example.import_id,
                "row_number": example.row_number,
                "shape": example.shape,
                "instructions": example.instructions,
                "earlier_turns": example.earlier_turns or None,
                "question": example.question,
                "answer": example.answer,
                "rejected": example.rejected,
                "is_liked": example.is_liked,
                "content_hash": example.content_hash,
                "created_at": moment,
                "updated_at": moment,
            }
            for example in examples
        ]
        is_sqlite = self._session.get_bind().dialect.name == "sqlite"
        insert = sqlite.insert(_EXAMPLES) if is_sqlite else postgresql.insert(_EXAMPLES)
        statement = insert.on_conflict_do_nothing(
            index_elements=[_EXAMPLES.c.project_id, _EXAMPLES.c.content_hash]
        ).returning(_EXAMPLES.c.content_hash)
        return set(self._session.execute(statement, rows).scalars())

    def find(self, project_id: str, example_id: int) -> Example | None:
        return self._session.execute(_one(project_id, example_id)).scalar_one_or_none()

    def hold(self, project_id: str, example_id: int) -> Example | None:
        """Return it as it is now, and hold it still until the commit."""
        statement = _one(project_id, example_id).with_for_update()
        return self._session.execute(
            statement.execution_options(populate_existing=True)
        ).scalar_one_or_none()

    def has_copy(self, project_id: str, content_hash: str, *, besides: int | None = None) -> bool:
        statement = select(Example.id).where(
            Example.project_id == project_id, Example.content_hash == content_hash
        )
        if besides is not None:
            statement = statement.where(Example.id != besides)
        return self._session.execute(statement.limit(1)).first() is not None

    def is_of_import(self, project_id: str, content_hash: str, import_id: str) -> bool:
        found = self._session.execute(
            select(Example.import_id).where(
                Example.project_id == project_id, Example.content_hash == content_hash
            )
        ).scalar_one_or_none()
        return found == import_id

    def delete(self, example: Example) -> None:
        self._session.delete(example)
        self._session.flush()

    def count(self, project_id: str) -> int:
        statement = select(func.count()).select_from(Example)
        return self._session.execute(statement.where(Example.project_id == project_id)).scalar_one()

    def count_found(self, project_id: str, search: str, most: int) -> int:
        """Count what a search finds, but no further than `most`."""
        found = self._searched(select(Example.id).where(Example.project_id == project_id), search)
        statement = select(func.count()).select_from(found.limit(most).subquery())
        return self._session.execute(statement).scalar_one()

    def page(
        self,
        project_id: str,
        *,
        search: str,
        order: Order,
        size: int,
        after: Cursor | None = None,
        before: Cursor | None = None,
    ) -> list[Example]:
        """Return the examples after or before a place, in the list's order."""
        columns = self._order_columns(order)
        descending = (order == "newest") != (before is not None)
        place = before or after
        statement = self._searched(select(Example).where(Example.project_id == project_id), search)
        if place is not None:
            values = (place.row, place.id)[-len(columns) :]
            statement = statement.where(_beyond(columns, values, descending=descending))
        ordering = [column.desc() if descending else column.asc() for column in columns]
        found = list(self._session.execute(statement.order_by(*ordering).limit(size)).scalars())
        return found[::-1] if before is not None else found

    def count_by_shape(self, project_id: str) -> dict[Shape, int]:
        """Return how many examples of each shape there are; those of which there are none lack."""
        statement = select(Example.shape, func.count()).where(Example.project_id == project_id)
        found = self._session.execute(statement.group_by(Example.shape)).all()
        return {Shape(shape): count for shape, count in found}

    def count_liked(self, project_id: str) -> int:
        statement = select(func.count()).select_from(Example)
        liked = (Example.project_id == project_id, Example.is_liked.is_(True))
        return self._session.execute(statement.where(*liked)).scalar_one()

    def count_by_answer(
        self, project_id: str, shapes: Iterable[Shape], most: int
    ) -> dict[str, int]:
        """Return how often each answer comes, the most frequent first, `most` answers at most."""
        number = func.count().label("number")
        statement = (
            select(Example.answer, number)
            .where(Example.project_id == project_id, Example.shape.in_(list(shapes)))
            .group_by(Example.answer)
            .order_by(number.desc(), Example.answer)
            .limit(most)
        )
        return {row.answer: row.number for row in self._session.execute(statement)}

    def stream(
        self, project_id: str, shapes: Iterable[Shape] = Shape, size: int = 1000
    ) -> Iterator[ExampleTexts]:
        """Yield the texts of all examples of these shapes by id.

        They are read a page at a time, so that memory does not grow.
        """
        columns = _EXAMPLES.c
        statement = (
            select(
                columns.id,
                columns.shape,
                columns.instructions,
                columns.earlier_turns,
                columns.question,
                columns.answer,
                columns.rejected,
                columns.is_liked,
            )
            .where(columns.project_id == project_id)
            .order_by(columns.id)
            .limit(size)
        )
        if (wanted := set(shapes)) != set(Shape):
            statement = statement.where(columns.shape.in_(sorted(wanted)))
        last = 0
        while page := self._session.execute(statement.where(columns.id > last)).all():
            yield from cast("Sequence[ExampleTexts]", page)
            last = page[-1].id

    def delete_of_import(self, import_id: str, limit: int | None = None) -> int:
        """Delete examples that an import added; of many, at most `limit` at once."""
        statement = delete(Example)
        if limit is None:
            statement = statement.where(Example.import_id == import_id)
        else:
            ids = select(Example.id).where(Example.import_id == import_id).limit(limit)
            statement = statement.where(Example.id.in_(ids.scalar_subquery()))
        deleted = self._session.execute(statement.returning(Example.id)).scalars().all()
        return len(deleted)

    def delete_some_of_project(self, project_id: str, limit: int) -> int:
        ids = select(Example.id).where(Example.project_id == project_id).limit(limit)
        statement = delete(Example).where(Example.id.in_(ids.scalar_subquery()))
        return len(self._session.execute(statement.returning(Example.id)).scalars().all())

    def facts(self, project_id: str, characters_at_once: int, every: int = 1) -> dict[str, int]:
        """Return what the advice is made of, from every so-many-th example."""
        may_name_a_kind = Example.shape.in_([Shape.ANSWER, Shape.LABEL])
        row = self._session.execute(
            select(
                func.count().label("count"),
                func.count(func.distinct(Example.answer)).label("answers"),
                func.count().filter(may_name_a_kind).label("sortable"),
                func.count(func.distinct(Example.answer)).filter(may_name_a_kind).label("kinds"),
                func.coalesce(
                    func.max(func.length(Example.answer)).filter(may_name_a_kind), 0
                ).label("longest_kind"),
                func.count().filter(_characters() > characters_at_once).label("long"),
                func.count().filter(_looks_like_html()).label("with_html"),
            ).where(Example.project_id == project_id, Example.id % every == 0)
        ).one()
        return {name: int(value) for name, value in row._mapping.items()}  # noqa: SLF001 (its public name)

    def _order_columns(self, order: Order) -> list[ColumnElement[Any]]:
        identity: ColumnElement[Any] = Example.__table__.c.id
        if order != "row":
            return [identity]
        return [func.coalesce(Example.row_number, _NO_ROW), identity]

    def _searched(self, statement: Select[Any], search: str) -> Select[Any]:
        if not search:
            return statement
        columns = (Example.question, Example.answer, Example.instructions, Example.rejected)
        is_sqlite = self._session.get_bind().dialect.name == "sqlite"
        if is_sqlite and not search.isascii():
            # SQLite's LIKE is quick, but knows upper and lower case of ASCII only.
            self._teach_sqlite_casefold()
            needle = search.casefold()
            return statement.where(
                or_(*(func.instr(func.tailor_casefold(column), needle) > 0 for column in columns))
            )
        escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return statement.where(
            or_(*(column.ilike(f"%{escaped}%", escape="\\") for column in columns))
        )

    def _teach_sqlite_casefold(self) -> None:
        driver = self._session.connection().connection.driver_connection
        if isinstance(driver, SqliteConnection):
            driver.create_function("tailor_casefold", 1, str.casefold, deterministic=True)


class ImportRepository:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, entry: Import) -> Import:
        self._session.add(entry)
        self._session.flush()
        return entry

    def find(self, import_id: str) -> Import | None:
        return self._session.get(Import, import_id, populate_existing=True)

    def find_in_project(self, project_id: str, import_id: str) -> Import | None:
        return self._session.execute(
            select(Import).where(Import.project_id == project_id, Import.id == import_id)
        ).scalar_one_or_none()

    def count(self, project_id: str) -> int:
        statement = select(func.count()).select_from(Import)
        return self._session.execute(statement.where(Import.project_id == project_id)).scalar_one()

    def page(
        self,
        project_id: str,
        *,
        size: int,
        after: ImportCursor | None = None,
        before: ImportCursor | None = None,
    ) -> list[Import]:
        """Return the uploads after or before a place, the newest first."""
        table = Import.__table__.c
        columns: list[ColumnElement[Any]] = [table.created_at, table.id]
        descending = before is None
        statement = select(Import).where(Import.project_id == project_id)
        if (place := before or after) is not None:
            values = (_EPOCH + timedelta(microseconds=place.moment), place.id)
            statement = statement.where(_beyond(columns, values, descending=descending))
        ordering = [column.desc() if descending else column.asc() for column in columns]
        found = list(self._session.execute(statement.order_by(*ordering).limit(size)).scalars())
        return found[::-1] if before is not None else found

    def all_but(self, project_id: str, statuses: Iterable[ImportStatus]) -> list[Import]:
        """Return all uploads that are in none of these statuses, the newest first."""
        return list(
            self._session.execute(
                select(Import)
                .where(Import.project_id == project_id, Import.status.not_in(list(statuses)))
                .order_by(Import.created_at.desc(), Import.id.desc())
            ).scalars()
        )

    def names_with_copies_since(
        self, project_id: str, since: datetime, *, besides: str
    ) -> Sequence[str]:
        """Return the file names of imports that ended since then and met copies, oldest first."""
        copies: Any = Import.report["duplicates"]
        return self._session.scalars(
            select(Import.file_name)
            .where(
                Import.project_id == project_id,
                Import.id != besides,
                Import.finished_at > since,
                copies.as_integer() > 0,
            )
            .order_by(Import.finished_at, Import.id)
        ).all()

    def confirm(self, import_id: str, mapping: dict[str, Any]) -> bool:
        """Move it from awaiting_mapping to confirmed; False if it was not waiting."""
        return self._move_on(import_id, status=ImportStatus.CONFIRMED, mapping=mapping)

    def read_anew(self, import_id: str, understood: dict[str, Any]) -> bool:
        """Move it from awaiting_mapping back to uploaded; False if it was not waiting."""
        return self._move_on(import_id, status=ImportStatus.UPLOADED, understood=understood)

    def _move_on(self, import_id: str, **values: object) -> bool:
        changed = self._session.execute(
            update(Import)
            .where(Import.id == import_id, Import.status == ImportStatus.AWAITING_MAPPING)
            .values(attempts=0, **values)
            .returning(Import.id)
        ).scalar_one_or_none()
        return changed is not None

    def delete(self, import_id: str) -> None:
        self._session.execute(delete(Import).where(Import.id == import_id))

    def ids_in(self, statuses: Sequence[ImportStatus], *, expired: bool) -> list[str]:
        """Return the ids in these statuses, whose lease ran out if `expired`."""
        statement = select(Import.id).where(Import.status.in_(list(statuses)))
        if expired:
            statement = statement.where(Import.lease_expires_at < database_epoch())
        return list(self._session.execute(statement.order_by(Import.created_at)).scalars())

    def all_ids(self) -> set[str]:
        return set(self._session.execute(select(Import.id)).scalars())


def _one(project_id: str, example_id: int) -> Select[Example]:
    return select(Example).where(Example.project_id == project_id, Example.id == example_id)


def _beyond(
    columns: Sequence[ColumnElement[Any]], place: Sequence[object], *, descending: bool
) -> ColumnElement[bool]:
    """Say what comes after a place in the order of one or two columns, the last one unique."""
    identity, wanted = columns[-1], place[-1]
    beyond_id = identity < wanted if descending else identity > wanted
    if len(columns) == 1:
        return beyond_id
    first, value = columns[0], place[0]
    beyond_first = first < value if descending else first > value
    return or_(beyond_first, and_(first == value, beyond_id))


def cursor_of(example: Example) -> Cursor:
    row = example.row_number if example.row_number is not None else _NO_ROW
    return Cursor(row, example.id)


def import_cursor_of(entry: Import) -> ImportCursor:
    return ImportCursor((entry.created_at - _EPOCH) // timedelta(microseconds=1), entry.id)


def _characters() -> ColumnElement[int]:
    """All that is read of an example: instructions, earlier turns, question and answer."""
    earlier = func.coalesce(func.length(sql_cast(Example.earlier_turns, Text)), 0)
    return (
        func.length(Example.instructions)
        + earlier
        + func.length(Example.question)
        + func.length(Example.answer)
        + func.length(Example.rejected)
    )


def _looks_like_html() -> ColumnElement[bool]:
    return or_(Example.answer.like("%</%>%"), Example.answer.like("%<br%>%"))
