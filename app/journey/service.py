"""A project from end to end: how far it is, starting one from a sample, and deleting it."""

import logging
from collections.abc import Sequence
from typing import Final

from sqlalchemy import event
from sqlalchemy.orm import Session

from app.journey import repository
from app.journey.repository import Rows
from app.projects import repository as projects
from app.projects.errors import TrainingBlocksDeletionError
from app.projects.service import check_confirmation
from app.projects.stepper import Counts, Progress, progress
from app.projects.tables import Project
from app.runs.status import FINAL, RunStatus
from app.storage.folders import Storage

logger = logging.getLogger(__name__)

_WAITING: Final = (RunStatus.QUEUED, RunStatus.PAUSED)


def progress_of(session: Session, project: Project) -> Progress:
    """Return the steps of one project and what comes next."""
    return progress_of_all(session, [project])[project.id]


def progress_of_all(session: Session, some: Sequence[Project]) -> dict[str, Progress]:
    rows = repository.journey_rows(session, [project.id for project in some])
    return {project.id: progress(project.id, _counts(rows, project.id)) for project in some}


def delete_project(session: Session, storage: Storage, project: Project, typed_name: str) -> None:
    """Delete a project and everything that belongs to it; its files go after the commit.

    Raises:
        WrongConfirmationError: if its name was not typed.
        TrainingBlocksDeletionError: while one of its runs is not over.
    """
    check_deletion(session, project, typed_name)
    _remove_after_commit(session, storage, repository.stored_keys(session, project.id))
    session.expunge(project)
    projects.delete_project(session, project.id)


def check_deletion(session: Session, project: Project, typed_name: str) -> None:
    """Say whether `delete_project` would go through; raises what it raises."""
    check_confirmation(project, typed_name)
    version_number = repository.open_run(session, project.id)
    if version_number is not None:
        raise TrainingBlocksDeletionError(version_number)


def _remove_after_commit(
    session: Session, storage: Storage, keys: Sequence[tuple[str, str]]
) -> None:
    # Files cannot be rolled back, so they wait until the rows are gone for good. Should the
    # process die in between, the folders that no row names any more are all that is left.
    def remove(_: Session) -> None:
        for key in keys:
            try:
                storage.remove(*key)
            except OSError as error:
                logger.warning("Could not remove %s: %s", "/".join(key), error)

    event.listen(session, "after_commit", remove, once=True)


def _counts(rows: Rows, project_id: str) -> Counts:
    base_model = rows.base_models.get(project_id)
    run = rows.latest_runs.get(project_id)
    is_open = run is not None and run["status"] not in FINAL
    return Counts(
        examples=rows.examples.get(project_id, 0),
        open_imports=rows.open_imports.get(project_id, 0),
        busy_imports=rows.busy_imports.get(project_id, 0),
        base_model_name=base_model["name"] if base_model else None,
        base_model_ready=bool(base_model and base_model["is_ready"]),
        active_run_id=run["id"] if run and is_open else None,
        active_version=run["version_number"] if run and is_open else None,
        waiting=bool(run and run["status"] in _WAITING),
        last_run_failed=bool(run and run["status"] == RunStatus.FAILED),
        versions=rows.versions.get(project_id, 0),
        conversations=rows.conversations.get(project_id, 0),
    )
