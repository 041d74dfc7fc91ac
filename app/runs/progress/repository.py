"""What a worker writes about a run, all of it under the fence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import now
from app.database.base import Base
from app.leases.repository import LostLeaseError
from app.runs.child_events import CheckpointEvent, SampleEvent
from app.runs.queue.claiming import leave
from app.runs.tables import Run, RunCheckpoint, RunEvent, RunMetric, RunSample


@dataclass(frozen=True)
class Wishes:
    """What people want of a run that a worker holds: columns that it reads every second.

    Attributes:
        pause: save it and give it back.
        finish: learn no more, and keep the best.
    """

    pause: bool = False
    finish: bool = False


def wishes(session: Session, run_id: str, fence: int) -> Wishes | None:
    """Return what people want of the run, or None if it is no longer ours."""
    query = select(Run.pause_requested_at, Run.finish_requested_at).where(
        Run.id == run_id, Run.fence == fence
    )
    row = session.execute(query).one_or_none()
    return None if row is None else Wishes(*(moment is not None for moment in row))


def is_held(session: Session, run_id: str, fence: int) -> bool:
    """Say whether the run still is ours."""
    query = select(Run.id).where(Run.id == run_id, Run.fence == fence)
    return session.scalar(query) is not None


def lock_held(session: Session, run_id: str, fence: int) -> Run:
    """Return the run, locked until the commit.

    Raises:
        LostLeaseError: if someone else owns it by now.
    """
    run = session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.fence == fence)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if run is None:
        raise LostLeaseError(f"run {run_id} is no longer held under fence {fence}")
    return run


def write(
    session: Session,
    run_id: str,
    fence: int,
    values: Mapping[str, Any],
    events: Sequence[tuple[str, dict[str, Any]]] = (),
) -> None:
    """Change the run and add events, numbered without gaps.

    Values that free the run end the time that it had its device.

    Raises:
        LostLeaseError: if someone else owns it by now.
    """
    newest = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.fence == fence)
        .values(event_count=Run.event_count + len(events), **values)
        .returning(Run.event_count)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if newest is None:
        raise LostLeaseError(f"run {run_id} is no longer held under fence {fence}")
    if values.get("lease_owner", run_id) is None:
        leave(session, run_id, values["status"])
    add_events(session, run_id, newest - len(events), events)


def add_events(
    session: Session, run_id: str, after: int, events: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """Add events behind the one with a number, in a transaction that has raised the run's count."""
    if not events:
        return
    moment = now()
    session.execute(
        insert(RunEvent),
        [
            {"run_id": run_id, "sequence": number, "kind": kind, "payload": payload, "at": moment}
            for number, (kind, payload) in enumerate(events, start=after + 1)
        ],
    )


def put_metrics(session: Session, run_id: str, metrics: Mapping[tuple[int, str], float]) -> None:
    moment = now()
    _upsert(
        session,
        RunMetric,
        [
            {"run_id": run_id, "step": step, "name": name, "value": value, "at": moment}
            for (step, name), value in metrics.items()
        ],
        keys=("run_id", "step", "name"),
    )


def put_samples(session: Session, run_id: str, samples: Iterable[SampleEvent]) -> None:
    rows = [{"run_id": run_id, **sample.model_dump(exclude={"event"})} for sample in samples]
    _upsert(session, RunSample, rows, keys=("run_id", "step", "position"))


def put_checkpoints(
    session: Session, run_id: str, fence: int, checkpoints: Iterable[CheckpointEvent]
) -> None:
    moment = now()
    rows = [
        {
            "run_id": run_id,
            "fence": fence,
            "created_at": moment,
            **checkpoint.model_dump(exclude={"event"}),
        }
        for checkpoint in checkpoints
    ]
    _upsert(session, RunCheckpoint, rows, keys=("run_id", "step"))


def forget_progress(session: Session, run_id: str) -> None:
    """Delete what was measured so far, because the run begins anew."""
    for table in (RunMetric, RunSample, RunCheckpoint):
        session.execute(delete(table).where(table.run_id == run_id))


def furthest_checkpoint(session: Session, run_id: str) -> int:
    query = select(func.max(RunCheckpoint.step)).where(RunCheckpoint.run_id == run_id)
    return session.scalar(query) or 0


def _upsert(
    session: Session, table: type[Base], rows: list[dict[str, Any]], keys: Sequence[str]
) -> None:
    if not rows:
        return
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    statement = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=changed), rows)
