"""The queue as administrators see it: what runs where, what waits in which order, and the limits.

Whoever looks here sees whose trainings they are and on which base model. Of the projects that they
belong to they see those alone in which they take part themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from app.accounts.repository import all_users
from app.accounts.tables import User
from app.jobs import RUNS_QUEUE
from app.projects.repository import projects_of
from app.projects.tables import Project
from app.runs.queue import repository
from app.runs.queue.claiming import people_now
from app.runs.queue.forecast import remaining_seconds
from app.runs.queue.limits import Limits
from app.runs.queue.places import QueuePlace, places
from app.runs.queue.repository import QueueEntry
from app.runs.tables import Run
from app.workers.device import DeviceFacts
from app.workers.repository import devices_there

WAITING_PER_PAGE: Final = 50


@dataclass(frozen=True)
class QueuedRun:
    """A run in work or waiting.

    Attributes:
        number: its place in the order, from 1; 0 for one in work.
        person: whose it is; empty if nobody is known.
        since: when it was begun, or asked for.
        seconds: what it has left, or takes.
        on: the device's name and host, for one in work.
        place: when it should start and what holds it back, for one that waits.
        project: the one it belongs to, if the reader takes part in it.
    """

    id: str
    number: int
    person: str
    base_model: str
    version: int
    since: datetime
    seconds: float
    on: str = ""
    place: QueuePlace | None = None
    project: Project | None = None


@dataclass(frozen=True)
class Overview:
    """What the administrators' page shows."""

    in_work: Sequence[QueuedRun]
    waiting: Sequence[QueuedRun]
    waiting_count: int
    page: int
    pages: int
    devices: Sequence[DeviceFacts]
    limits: Limits
    people: Sequence[User]

    @property
    def people_with_own_limit(self) -> list[User]:
        return [person for person in self.people if person.id in self.limits.own]


def overview(session: Session, reader_id: str, page: int) -> Overview:
    """Return the queue as it is now for one reader, and one page of what waits."""
    entries = repository.entries(session)
    devices = devices_there(session, RUNS_QUEUE)
    people = people_now(session)
    active = [entry for entry in entries if entry.is_active]
    waiting = entries[len(active) :]
    pages = max(1, -(-len(waiting) // WAITING_PER_PAGE))
    page = min(max(1, page), pages)
    first = (page - 1) * WAITING_PER_PAGE
    shown = waiting[first : first + WAITING_PER_PAGE]
    found = places(entries, [entry.run_id for entry in shown], devices, people)
    known = repository.with_people(session, [entry.run_id for entry in (*active, *shown)])
    projects = {project.id: project for project, _ in projects_of(session, reader_id)}
    return Overview(
        in_work=[
            _queued_run(known[entry.run_id], entry, 0, None, projects)
            for entry in active
            if entry.run_id in known
        ],
        waiting=[
            _queued_run(known[entry.run_id], entry, number, found.get(entry.run_id), projects)
            for number, entry in enumerate(shown, start=first + 1)
            if entry.run_id in known
        ],
        waiting_count=len(waiting),
        page=page,
        pages=pages,
        devices=devices,
        limits=people.limits,
        people=[person for person in all_users(session) if person.is_active],
    )


def _queued_run(
    known: tuple[Run, str],
    entry: QueueEntry,
    number: int,
    place: QueuePlace | None,
    projects: Mapping[str, Project],
) -> QueuedRun:
    run, person = known
    device = run.device or {}
    count = 1 + len(device.get("further", ()))
    name = f"{count} × {device.get('name')}" if count > 1 else device.get("name")
    return QueuedRun(
        id=run.id,
        number=number,
        person=person,
        base_model=str(run.recipe.get("base_model_name", "")),
        version=run.version_number,
        since=(run.started_at or run.created_at) if entry.is_active else run.created_at,
        seconds=remaining_seconds(entry),
        on=f"{name}, {device['host']}" if device else "",
        place=place,
        project=projects.get(run.project_id),
    )
