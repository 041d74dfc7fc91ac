"""Every query about projects and their members."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.projects.tables import Project, ProjectMember, Role


def add(session: Session, row: Project | ProjectMember) -> None:
    session.add(row)
    session.flush()


def project_and_role(
    session: Session, user_id: str, project_id: str
) -> tuple[Project, Role] | None:
    row = session.execute(
        select(Project, ProjectMember.role)
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .where(
            Project.id == project_id,
            ProjectMember.user_id == user_id,
            Project.deleted_at.is_(None),
        )
    ).first()
    return None if row is None else (row[0], Role(row[1]))


def projects_of(session: Session, user_id: str) -> list[tuple[Project, Role]]:
    """Return a person's projects, the one changed last first."""
    rows = session.execute(
        select(Project, ProjectMember.role)
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .where(ProjectMember.user_id == user_id, Project.deleted_at.is_(None))
        .order_by(Project.updated_at.desc(), Project.id)
    )
    return [(project, Role(role)) for project, role in rows]


def lock_project(session: Session, project_id: str) -> Project | None:
    """Return the project as it is now, and hold it still; None once it was deleted."""
    return session.scalar(
        select(Project)
        .where(Project.id == project_id, Project.deleted_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def deleted_project_ids(session: Session) -> Sequence[str]:
    """Return the projects that are to go and are not gone yet."""
    return session.scalars(select(Project.id).where(Project.deleted_at.is_not(None))).all()


def without_owner(session: Session) -> Sequence[tuple[Project, User]]:
    """Return the projects none of whose owners can sign in, each with one of those owners."""
    can_manage = (
        select(ProjectMember.user_id)
        .join(User, User.id == ProjectMember.user_id)
        .where(
            ProjectMember.project_id == Project.id,
            ProjectMember.role == Role.OWNER,
            User.is_active,
        )
    )
    rows = session.execute(
        select(Project, User)
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .join(User, User.id == ProjectMember.user_id)
        .where(
            ProjectMember.role == Role.OWNER,
            Project.deleted_at.is_(None),
            ~can_manage.exists(),
        )
        .order_by(Project.created_at, Project.id, User.id)
    )
    return list({project.id: (project, user) for project, user in rows}.values())


def members_of(session: Session, project_id: str) -> Sequence[tuple[ProjectMember, User]]:
    rows = session.execute(
        select(ProjectMember, User)
        .join(User, User.id == ProjectMember.user_id)
        .where(ProjectMember.project_id == project_id)
        .order_by(ProjectMember.added_at, User.id)
    )
    return [(member, user) for member, user in rows]


def member(session: Session, project_id: str, user_id: str) -> ProjectMember | None:
    return session.get(ProjectMember, (project_id, user_id))


def lock_owners_who_can_sign_in(session: Session, project_id: str) -> set[str]:
    """Return their ids, holding their roles and their accounts still until the commit."""
    query = (
        select(ProjectMember.user_id)
        .join(User, User.id == ProjectMember.user_id)
        .where(
            ProjectMember.project_id == project_id,
            ProjectMember.role == Role.OWNER,
            User.is_active,
        )
        .order_by(ProjectMember.user_id)
    )
    return set(session.scalars(query.with_for_update()))


def remove_member(session: Session, member: ProjectMember) -> None:
    session.delete(member)
    session.flush()


def delete_project(session: Session, project_id: str) -> None:
    """Delete the row; the database deletes all that belongs to it."""
    session.execute(delete(Project).where(Project.id == project_id))
