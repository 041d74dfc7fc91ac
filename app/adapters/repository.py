"""The queries about versions."""

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel
from app.projects.tables import Project, ProjectMember, Role
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


def count_made_with(session: Session, base_model_id: str) -> tuple[int, int]:
    """Return how many versions were made with a base model, and how many runs left none."""
    versions, runs = session.execute(
        select(func.count(Adapter.run_id), func.count())
        .select_from(Run)
        .join(Project, Project.id == Run.project_id)
        .outerjoin(Adapter, Adapter.run_id == Run.id)
        .where(Run.base_model_id == base_model_id, Project.deleted_at.is_(None))
    ).one()
    return versions, runs - versions


def owners_who_made_with(session: Session, base_model_id: str) -> list[tuple[str, str | None]]:
    """Return each project with runs on a base model, with each of its owners who can sign in.

    A project without such an owner comes once, without a name.
    """
    is_owner = and_(ProjectMember.project_id == Project.id, ProjectMember.role == Role.OWNER)
    can_sign_in = and_(User.id == ProjectMember.user_id, User.is_active)
    rows = session.execute(
        select(Project.id, User.name)
        .outerjoin(ProjectMember, is_owner)
        .outerjoin(User, can_sign_in)
        .where(
            Project.id.in_(select(Run.project_id).where(Run.base_model_id == base_model_id)),
            Project.deleted_at.is_(None),
        )
    )
    return [(project_id, name) for project_id, name in rows]
