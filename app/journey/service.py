"""A project from end to end: how far it is and what comes next."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from app.journey import repository
from app.journey.repository import Rows
from app.projects.stepper import Counts, Progress, progress
from app.projects.tables import Project, Role
from app.runs.status import FINAL, RunStatus


def progress_of(session: Session, project: Project, role: Role) -> Progress:
    """Return the steps of one project and what comes next for someone with this role."""
    return progress_of_all(session, {project.id: role})[project.id]


def progress_of_all(session: Session, roles: Mapping[str, Role]) -> dict[str, Progress]:
    """Return the same for several projects; the keys are their ids."""
    rows = repository.journey_rows(session, list(roles))
    return {
        project_id: progress(project_id, _counts(rows, project_id), may_edit=role != Role.VIEWER)
        for project_id, role in roles.items()
    }


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
        waiting=bool(run and run["status"] == RunStatus.QUEUED),
        paused=bool(run and run["status"] == RunStatus.PAUSED),
        last_run_failed=bool(run and run["status"] == RunStatus.FAILED),
        versions=rows.versions.get(project_id, 0),
        conversations=rows.conversations.get(project_id, 0),
    )
