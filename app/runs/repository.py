"""The queries about runs that pages and the sweeper ask. What workers write: progress/."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.base import database_epoch
from app.datasets.tables import Example
from app.runs.status import ACTIVE, RunStatus
from app.runs.tables import Run, RunEvent, RunMetric, RunSample


def add(session: Session, run: Run) -> None:
    session.add(run)
    session.flush()


def add_event(session: Session, run: Run, kind: str, payload: dict[str, Any]) -> None:
    """Add an event to a run that this transaction has locked or made."""
    run.event_count += 1
    session.add(RunEvent(run_id=run.id, sequence=run.event_count, kind=kind, payload=payload))
    session.flush()


def of_project(session: Session, project_id: str, run_id: str) -> Run | None:
    return session.scalar(select(Run).where(Run.project_id == project_id, Run.id == run_id))


def by_version(session: Session, project_id: str, version: int) -> Run | None:
    return session.scalar(
        select(Run).where(Run.project_id == project_id, Run.version_number == version)
    )


def all_of_project(session: Session, project_id: str) -> Sequence[Run]:
    """Return a project's runs, the newest version first."""
    return session.scalars(
        select(Run).where(Run.project_id == project_id).order_by(Run.version_number.desc())
    ).all()


def by_ids(session: Session, run_ids: Sequence[str]) -> Sequence[Run]:
    return session.scalars(select(Run).where(Run.id.in_(run_ids))).all()


def all_ids(session: Session) -> set[str]:
    return set(session.scalars(select(Run.id)))


def ended_before(
    session: Session, run_ids: Sequence[str], moment: datetime, statuses: Sequence[RunStatus]
) -> Sequence[str]:
    """Return those of the runs that ended in one of these ways before a moment."""
    return session.scalars(
        select(Run.id).where(
            Run.id.in_(run_ids), Run.status.in_(statuses), Run.finished_at < moment
        )
    ).all()


def failed_before(session: Session, run_ids: Sequence[str], moment: datetime) -> Sequence[Run]:
    """Return those of the runs that failed before a moment."""
    return session.scalars(
        select(Run).where(
            Run.id.in_(run_ids), Run.status == RunStatus.FAILED, Run.finished_at < moment
        )
    ).all()


def lock(session: Session, run_id: str) -> Run | None:
    return session.scalar(
        select(Run)
        .where(Run.id == run_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def lock_expired(session: Session, run_id: str) -> Run | None:
    """Return the run, locked, if a worker holds it whose lease ran out."""
    return session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.status.in_(ACTIVE), Run.lease_expires_at < database_epoch())
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )


def is_any_unfinished(session: Session) -> bool:
    """Say whether a run waits or is worked on."""
    query = select(Run.id).where(Run.status.in_((*ACTIVE, RunStatus.QUEUED))).limit(1)
    return session.scalar(query) is not None


@dataclass(frozen=True)
class Lengths:
    """Characters of a project's examples.

    Attributes:
        average: of one example.
        longest: of the longest.
        answer_share: the share of all of them that stands in answers.
    """

    average: float = 0.0
    longest: int = 0
    answer_share: float = 0.0


def lengths(session: Session, project_id: str, sample: int = 1000) -> Lengths:
    """Return how long a project's first examples are."""
    answer = func.length(Example.answer)
    first = (
        select(
            (func.length(Example.instructions) + func.length(Example.question) + answer).label(
                "all"
            ),
            answer.label("answer"),
        )
        .where(Example.project_id == project_id)
        .order_by(Example.id)
        .limit(sample)
        .subquery()
    )
    average, longest, answered = session.execute(
        select(func.avg(first.c.all), func.max(first.c.all), func.avg(first.c.answer))
    ).one()
    if not average:
        return Lengths()
    return Lengths(float(average), int(longest), float(answered) / float(average))


def past_results(session: Session, base_model_id: str, limit: int = 20) -> list[dict[str, Any]]:
    """Return what the newest successful runs on a base model measured, on one device each."""
    found = session.scalars(
        select(Run.result)
        .where(Run.base_model_id == base_model_id, Run.status == RunStatus.SUCCEEDED)
        .order_by(Run.finished_at.desc())
        .limit(limit)
    )
    return [result for result in found if result and result.get("devices", 1) == 1]


def metrics(session: Session, run_id: str, names: Sequence[str]) -> list[tuple[int, str, float]]:
    rows = session.execute(
        select(RunMetric.step, RunMetric.name, RunMetric.value)
        .where(RunMetric.run_id == run_id, RunMetric.name.in_(names))
        .order_by(RunMetric.step, RunMetric.name)
    )
    return [(step, name, value) for step, name, value in rows]


def shown_samples(session: Session, run_id: str, kept_step: int | None) -> Sequence[RunSample]:
    """Return the answers to the held-out questions at the step whose state became the version.

    While that step is not known (None), the newest answer to each question is returned.
    """
    step = (
        select(func.max(RunSample.step).label("step"), RunSample.position)
        .where(RunSample.run_id == run_id)
        .group_by(RunSample.position)
    )
    if kept_step is not None:
        step = step.where(RunSample.step == kept_step)
    moment = step.subquery()
    return session.scalars(
        select(RunSample)
        .join(
            moment,
            (RunSample.position == moment.c.position) & (RunSample.step == moment.c.step),
        )
        .where(RunSample.run_id == run_id)
        .order_by(RunSample.position)
    ).all()


def newest_events(
    session: Session, run_id: str, kinds: Sequence[str], limit: int
) -> list[RunEvent]:
    """Return the newest events of some kinds, the oldest of them first."""
    found = session.scalars(
        select(RunEvent)
        .where(RunEvent.run_id == run_id, RunEvent.kind.in_(kinds))
        .order_by(RunEvent.sequence.desc())
        .limit(limit)
    ).all()
    return list(reversed(found))


def status_of(session: Session, run_id: str) -> RunStatus | None:
    return session.scalar(select(Run.status).where(Run.id == run_id))
