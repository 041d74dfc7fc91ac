"""The queries about runs that pages and the sweeper ask. What workers write: progress/."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, case, cast, func, select
from sqlalchemy.orm import Session

from app.database.base import database_epoch
from app.database.octets import octets
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
    """Return the runs as they are now, whatever the session saw of them before.

    A session gives out an object that it has read as it was then, and a view of a run that has
    ended meanwhile would show it as learning.
    """
    fresh = {"populate_existing": True}
    return session.scalars(select(Run).where(Run.id.in_(run_ids)), execution_options=fresh).all()


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


@dataclass(frozen=True)
class Lengths:
    """How much text a project's examples are, in bytes.

    A letter of Greek or Hindi is as much as two or three of English, in bytes as in tokens.

    Attributes:
        average: of one example; of two answers to a question only the longer one counts.
        longest: of the longest.
        answer_share: the share of all of them that stands in answers.
    """

    average: float = 0.0
    longest: int = 0
    answer_share: float = 0.0


def lengths(session: Session, project_id: str, sample: int = 1000) -> Lengths:
    """Return how long a project's first examples are."""
    answer, rejected = octets(Example.answer), octets(Example.rejected)
    longer = case((rejected > answer, rejected), else_=answer)
    # A single question has the JSON value null there.
    turns = func.nullif(cast(Example.earlier_turns, Text), "null")
    earlier = func.coalesce(octets(turns), 0)
    asked = octets(Example.instructions) + octets(Example.question)
    # Questions and answers take turns, and earlier answers are learned as well.
    answered = longer + earlier / 2.0
    first = (
        select((asked + earlier + longer).label("all"), answered.label("answer"))
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


@dataclass(frozen=True)
class PastRun:
    """A run that succeeded on one device, as its row says: others are judged by what it took."""

    recipe: dict[str, Any]
    train_count: int
    validation_count: int
    device: dict[str, Any]
    result: dict[str, Any]


def past_runs(
    session: Session, base_model_ids: Collection[str], limit: int = 20
) -> dict[str, list[PastRun]]:
    """Return the newest successful runs on base models, those that learned on one device.

    Args:
        session: only reads.
        base_model_ids: the base models; of one without such runs nothing is returned.
        limit: how many of the newest runs on each are looked at.
    """
    newest_first = func.row_number().over(
        partition_by=Run.base_model_id, order_by=Run.finished_at.desc()
    )
    numbered = (
        select(Run.id, newest_first.label("place"))
        .where(Run.base_model_id.in_(base_model_ids), Run.status == RunStatus.SUCCEEDED)
        .subquery()
    )
    rows = session.execute(
        select(
            *(Run.base_model_id, Run.recipe, Run.train_count, Run.validation_count),
            *(Run.device, Run.result),
        )
        .join(numbered, numbered.c.id == Run.id)
        .where(numbered.c.place <= limit)
        .order_by(numbered.c.place)
    )
    found: dict[str, list[PastRun]] = defaultdict(list)
    for base_model_id, recipe, learned, held_out, device, result in rows:
        if result and result.get("devices", 1) == 1:
            found[base_model_id].append(PastRun(recipe, learned, held_out, device or {}, result))
    return found


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
