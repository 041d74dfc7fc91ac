"""The read model of the journey: how far projects are, for any number of them in a few queries.

It looks into the tables of every concept, which is why it stands above them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, RowMapping, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel, BaseModelStatus
from app.chat.tables import Conversation
from app.datasets.tables import Example, Import, ImportStatus
from app.projects.tables import Project
from app.runs.status import FINAL
from app.runs.tables import Run

_BUSY_IMPORTS = (
    ImportStatus.UPLOADED,
    ImportStatus.INSPECTING,
    ImportStatus.CONFIRMED,
    ImportStatus.IMPORTING,
)


@dataclass(frozen=True)
class Rows:
    """What was found, each keyed by the project's id."""

    examples: Mapping[str, int] = field(default_factory=dict)
    open_imports: Mapping[str, int] = field(default_factory=dict)
    busy_imports: Mapping[str, int] = field(default_factory=dict)
    base_models: Mapping[str, RowMapping] = field(default_factory=dict)
    latest_runs: Mapping[str, RowMapping] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    conversations: Mapping[str, int] = field(default_factory=dict)


def journey_rows(session: Session, project_ids: Sequence[str]) -> Rows:
    if not project_ids:
        return Rows()
    awaiting = Import.status == ImportStatus.AWAITING_MAPPING
    busy = Import.status.in_(_BUSY_IMPORTS)
    return Rows(
        examples=_counts(session, Example.project_id, project_ids),
        open_imports=_counts(session, Import.project_id, project_ids, awaiting),
        busy_imports=_counts(session, Import.project_id, project_ids, busy),
        base_models=_chosen_base_models(session, project_ids),
        latest_runs=_latest_runs(session, project_ids),
        versions=_counts(session, Adapter.project_id, project_ids),
        conversations=_counts(session, Conversation.project_id, project_ids),
    )


def open_run(session: Session, project_id: str) -> int | None:
    """Return the version number of a run that is not over yet, if there is one."""
    return session.scalar(
        select(Run.version_number)
        .where(Run.project_id == project_id, Run.status.not_in(FINAL))
        .order_by(Run.version_number)
        .limit(1)
    )


def stored_keys(session: Session, project_id: str) -> list[tuple[str, str]]:
    """Return the storage keys of everything that a project keeps outside of the database."""
    runs = session.scalars(select(Run.id).where(Run.project_id == project_id))
    uploads = session.scalars(select(Import.id).where(Import.project_id == project_id))
    return [("runs", key) for key in runs] + [("uploads", key) for key in uploads]


def _counts(
    session: Session,
    column: InstrumentedAttribute[str],
    project_ids: Sequence[str],
    *conditions: ColumnElement[bool],
) -> dict[str, int]:
    rows = session.execute(
        select(column, func.count()).where(column.in_(project_ids), *conditions).group_by(column)
    )
    return {row[0]: row[1] for row in rows}


def _chosen_base_models(session: Session, project_ids: Sequence[str]) -> dict[str, RowMapping]:
    rows = session.execute(
        select(
            Project.id.label("project_id"),
            BaseModel.name.label("name"),
            (BaseModel.status == BaseModelStatus.READY).label("is_ready"),
        )
        .join(BaseModel, BaseModel.id == Project.base_model_id)
        .where(Project.id.in_(project_ids))
    )
    return {row["project_id"]: row for row in rows.mappings()}


def _latest_runs(session: Session, project_ids: Sequence[str]) -> dict[str, RowMapping]:
    """Return each project's open run, or else its newest one."""
    newest = (
        select(func.max(Run.version_number))
        .where(Run.project_id == Project.id)
        .correlate(Project)
        .scalar_subquery()
    )
    oldest_open = (
        select(func.min(Run.version_number))
        .where(Run.project_id == Project.id, Run.status.not_in(FINAL))
        .correlate(Project)
        .scalar_subquery()
    )
    is_open = Run.version_number == oldest_open
    is_newest = and_(oldest_open.is_(None), Run.version_number == newest)
    rows = session.execute(
        select(
            Run.project_id.label("project_id"),
            Run.id.label("id"),
            Run.version_number.label("version_number"),
            Run.status.label("status"),
        )
        .join(Project, Project.id == Run.project_id)
        .where(Run.project_id.in_(project_ids), or_(is_open, is_newest))
    )
    return {row["project_id"]: row for row in rows.mappings()}
