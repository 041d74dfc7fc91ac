"""Projects, and who may do what with them.

A viewer looks, an editor changes, an owner also manages the members and deletes. Administrators
have no special sight of other people's projects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from app.accounts import repository as accounts
from app.accounts.sign_in import normal_email
from app.accounts.tables import User
from app.audit.service import Action, Thing, record
from app.projects import repository
from app.projects.errors import (
    AlreadyMemberError,
    LastOwnerError,
    MissingProjectNameError,
    RoleTooLowError,
    UnknownMemberError,
    UnknownProjectError,
    WrongConfirmationError,
)
from app.projects.tables import Project, ProjectMember, Role
from app.text import many_lines, one_line

_RANK: Final = {Role.VIEWER: 0, Role.EDITOR: 1, Role.OWNER: 2}
_LONGEST_NAME: Final = 200
_LONGEST_GOAL: Final = 4000


@dataclass(frozen=True)
class Access:
    """A project together with what one person may do with it."""

    project: Project
    role: Role

    def may(self, role: Role) -> bool:
        return _RANK[self.role] >= _RANK[role]

    def require(self, role: Role) -> Project:
        """Return the project, or raise RoleTooLowError."""
        if not self.may(role):
            raise RoleTooLowError(needs_owner=role == Role.OWNER)
        return self.project


def access_to(session: Session, user_id: str, project_id: str) -> Access:
    """Return what a person may do with a project.

    Raises:
        UnknownProjectError: for a project that is not there and for one that is not theirs.
    """
    found = repository.project_and_role(session, user_id, project_id)
    if found is None:
        raise UnknownProjectError
    return Access(*found)


def is_member(session: Session, user_id: str, project_id: str) -> bool:
    return repository.project_and_role(session, user_id, project_id) is not None


def create_project(
    session: Session, owner_id: str, name: str, goal: str = "", sample_slug: str | None = None
) -> Project:
    project = Project(
        name=_checked_name(name), goal=many_lines(goal, _LONGEST_GOAL), sample_slug=sample_slug
    )
    repository.add(session, project)
    owner = ProjectMember(project_id=project.id, user_id=owner_id, role=Role.OWNER)
    repository.add(session, owner)
    record(session, Action.PROJECT_CREATED, thing(project))
    return project


def thing(project: Project) -> Thing:
    """Return the project as a row about what happened speaks of it."""
    return Thing("project", project.id, project.name)


def hold_still(session: Session, project_id: str) -> Project:
    """Return the project as it is now, locked until the commit.

    Raises:
        UnknownProjectError: if it was deleted.
    """
    project = repository.lock_project(session, project_id)
    if project is None:
        raise UnknownProjectError
    return project


def change_project(session: Session, project: Project, name: str, goal: str) -> None:
    project.name = _checked_name(name)
    project.goal = many_lines(goal, _LONGEST_GOAL)
    session.flush()


def choose_base_model(session: Session, project: Project, base_model_id: str) -> None:
    """Choose what the next training starts from; versions made so far keep theirs."""
    project.base_model_id = base_model_id
    session.flush()


def add_member(session: Session, project: Project, email: str, role: Role) -> User:
    """Add someone who has an account already."""
    user = accounts.user_by_email(session, normal_email(email))
    if user is None or not user.is_active:
        raise UnknownMemberError(email.strip())
    if repository.member(session, project.id, user.id) is not None:
        raise AlreadyMemberError(user.name)
    repository.add(session, ProjectMember(project_id=project.id, user_id=user.id, role=role))
    record(session, Action.MEMBER_ADDED, thing(project), person=user.name, role=role.value)
    return user


def change_role(session: Session, project: Project, user_id: str, role: Role) -> None:
    member = _member(session, project, user_id)
    if role != Role.OWNER:
        _require_another_owner(session, project, member)
    member.role = role
    session.flush()
    name = _name_of(session, user_id)
    record(session, Action.ROLE_CHANGED, thing(project), person=name, role=role.value)


def remove_member(session: Session, project: Project, user_id: str) -> None:
    """Take someone out of a project.

    Raises:
        UnknownProjectError: if the person is not in it.
        LastOwnerError: if nobody would own it any more.
    """
    _remove(session, project, user_id)
    name = _name_of(session, user_id)
    record(session, Action.MEMBER_REMOVED, thing(project), person=name)


def leave(session: Session, project: Project, user_id: str) -> None:
    """The same for oneself."""
    _remove(session, project, user_id)
    record(session, Action.PROJECT_LEFT, thing(project))


def without_owner(session: Session) -> Sequence[tuple[Project, User]]:
    """Return the projects that nobody can manage, each with the one who did."""
    return repository.without_owner(session)


def name_owner(session: Session, project_id: str, email: str) -> User:
    """Give a project that nobody can manage to someone, for an administrator who cannot see it.

    Raises:
        UnknownProjectError: if the project is not there, or has an owner who can sign in.
        UnknownMemberError: if nobody who can sign in has this address.
    """
    project = hold_still(session, project_id)
    if project.id not in {orphan.id for orphan, _ in without_owner(session)}:
        raise UnknownProjectError
    user = accounts.user_by_email(session, normal_email(email))
    if user is None or not user.is_active:
        raise UnknownMemberError(email.strip())
    member = repository.member(session, project.id, user.id)
    if member is None:
        member = ProjectMember(project_id=project.id, user_id=user.id, role=Role.OWNER)
        repository.add(session, member)
    member.role = Role.OWNER
    session.flush()
    record(session, Action.ROLE_CHANGED, thing(project), person=user.name, role=Role.OWNER.value)
    return user


def members_of(session: Session, project: Project) -> Sequence[tuple[ProjectMember, User]]:
    return repository.members_of(session, project.id)


def check_confirmation(project: Project, typed_name: str) -> None:
    """Raise WrongConfirmationError unless the project's name was typed."""
    if typed_name.strip().casefold() != project.name.strip().casefold():
        raise WrongConfirmationError(project.name)


def _checked_name(name: str) -> str:
    name = one_line(name, _LONGEST_NAME)
    if not name:
        raise MissingProjectNameError
    return name


def _member(session: Session, project: Project, user_id: str) -> ProjectMember:
    member = repository.member(session, project.id, user_id)
    if member is None:
        raise UnknownProjectError
    return member


def _remove(session: Session, project: Project, user_id: str) -> None:
    member = _member(session, project, user_id)
    _require_another_owner(session, project, member)
    repository.remove_member(session, member)


def _name_of(session: Session, user_id: str) -> str:
    user = accounts.user_by_id(session, user_id)
    return "" if user is None else user.name


def _require_another_owner(session: Session, project: Project, member: ProjectMember) -> None:
    # An owner who was switched off cannot manage anything, so one of those does not count.
    if repository.lock_owners_who_can_sign_in(session, project.id) == {member.user_id}:
        raise LastOwnerError
