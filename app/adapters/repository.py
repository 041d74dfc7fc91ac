"""The queries about versions."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel
from app.runs.tables import Run


def add(session: Session, adapter: Adapter) -> None:
    session.add(adapter)
    session.flush()


def all_of_project(session: Session, project_id: str) -> list[tuple[Adapter, Run]]:
    """Return a project's versions with the runs that made them, the newest first."""
    rows = session.execute(
        select(Adapter, Run)
        .join(Run, Run.id == Adapter.run_id)
        .where(Adapter.project_id == project_id)
        .order_by(Adapter.version_number.desc())
    )
    return [(adapter, run) for adapter, run in rows]


def by_number(
    session: Session, project_id: str, number: int
) -> tuple[Adapter, Run, BaseModel] | None:
    rows = session.execute(
        select(Adapter, Run, BaseModel)
        .join(Run, Run.id == Adapter.run_id)
        .join(BaseModel, BaseModel.id == Adapter.base_model_id)
        .where(Adapter.project_id == project_id, Adapter.version_number == number)
    )
    row = rows.one_or_none()
    return None if row is None else (row[0], row[1], row[2])
