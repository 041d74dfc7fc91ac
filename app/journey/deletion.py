"""Deleting a project: refused as a whole, or seen through to the end.

A large project takes a while, in short transactions, so that others who write come in between. So
the first one decides: it checks what stands in the way and takes the project out of everybody's
sight. From there on it only goes forward; what a crash interrupts, the sweeper finishes.
"""

import logging

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.audit.service import Action, record
from app.clock import now
from app.database.session import transaction
from app.datasets.service import DELETE_AT_ONCE, delete_some_of_project
from app.journey import repository
from app.projects import repository as projects
from app.projects.errors import TrainingBlocksDeletionError
from app.projects.service import check_confirmation, hold_still, thing
from app.projects.tables import Project
from app.storage.folders import Storage

logger = logging.getLogger(__name__)


def begin_deletion(session: Session, project: Project, typed_name: str) -> None:
    """Take a project out of everybody's sight, for good.

    Raises:
        UnknownProjectError: if someone else was faster.
        WrongConfirmationError: if its name was not typed.
        TrainingBlocksDeletionError: while one of its runs is not over.
    """
    locked = hold_still(session, project.id)
    check_confirmation(locked, typed_name)
    version_number = repository.open_run(session, locked.id)
    if version_number is not None:
        raise TrainingBlocksDeletionError(version_number)
    locked.deleted_at = now()
    session.flush()
    record(session, Action.PROJECT_DELETED, thing(locked))


def finish_deletion(engine: Engine, storage: Storage, project_id: str) -> None:
    """Delete a project that was taken out of sight, and everything that belongs to it."""
    deleted = DELETE_AT_ONCE
    while deleted == DELETE_AT_ONCE:
        with transaction(engine) as session:
            deleted = delete_some_of_project(session, project_id)
    with transaction(engine) as session:
        keys = repository.stored_keys(session, project_id)
        projects.delete_project(session, project_id)
    # Files cannot be rolled back, so they went on lying there until the rows were gone for good.
    for key in keys:
        try:
            storage.remove(*key)
        except OSError as error:
            logger.warning("Could not remove %s: %s", "/".join(key), error)


def finish_deletions(engine: Engine, storage: Storage) -> None:
    """Finish what was interrupted."""
    with transaction(engine, read_only=True) as session:
        begun = projects.deleted_project_ids(session)
    for project_id in begun:
        finish_deletion(engine, storage, project_id)
