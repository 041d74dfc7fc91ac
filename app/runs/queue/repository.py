"""The queue's order and everything that is asked of it: one order for the claim and for pages."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.database.base import JsonObject, database_epoch
from app.runs.queue.limits import Limit, Limits, Use
from app.runs.queue.needs import ANYTHING, Needs, Serves
from app.runs.queue.tables import DeviceUse, QueueLimit
from app.runs.queue.turns import ORDINARY_SECONDS, TOO_LITTLE_TO_MOVE
from app.runs.status import ACTIVE, RunStatus
from app.runs.tables import Run

Uses = dict[str, list[Use]]
"""When each person had a device."""

ORDER: Final = (Run.turn, Run.created_at, Run.id)
"""Whose turn it is among those that wait; see turns.py."""


@dataclass(frozen=True)
class QueueEntry:
    """A run that is being worked on or waits.

    Attributes:
        device: on what it is trained, or was last; see Run.device.
        seconds_left: as its training process says, once it does.
        devices: on how many it may be trained at once.
    """

    run_id: str
    is_active: bool
    expected_seconds: float | None
    seconds_left: float | None
    person_id: str | None = None
    needs: Needs = ANYTHING
    device: JsonObject | None = None
    devices: int = 1


def entries(session: Session) -> list[QueueEntry]:
    """Return the runs in work, and then those that wait in the order of their turn."""
    rows = session.execute(
        select(
            Run.id,
            Run.status,
            Run.expected_seconds,
            Run.seconds_left,
            Run.requested_by_id,
            Run.needs_kind,
            Run.needs_memory_bytes,
            Run.needs_devices,
            Run.needs_bits,
            Run.device,
            # Recipes of an earlier Tailor do not say.
            func.coalesce(Run.recipe["devices"].as_integer(), 1),
        )
        .where(Run.status.in_((*ACTIVE, RunStatus.QUEUED)))
        .order_by(*ORDER)
    )
    found = [
        QueueEntry(
            run_id,
            status != RunStatus.QUEUED,
            expected,
            left,
            person,
            Needs(kind, memory, least, bits),
            device,
            devices,
        )
        for run_id, status, expected, left, person, kind, memory, least, bits, device, devices in (
            rows
        )
    ]
    return sorted(found, key=lambda entry: not entry.is_active)


@dataclass(frozen=True)
class FirstInTurn:
    """The run whose turn it is on a device.

    Attributes:
        needs_devices: how many of one machine it must have at once.
    """

    run_id: str
    person_id: str | None
    needs_devices: int


def first_waiting(
    session: Session, serves: Serves, held_back: Collection[str]
) -> FirstInTurn | None:
    """Lock the run whose turn it is on a device, and return it, or None.

    Rows that another worker is just claiming are passed over instead of waited for.

    Args:
        session: the claim's transaction.
        serves: what the free device can do; the same as Serves.can_train.
        held_back: people whose runs may not start now.
    """
    query = select(Run.id, Run.requested_by_id, Run.needs_devices).where(
        _waits(),
        Run.lease_owner.is_(None),
        Run.needs_devices <= serves.devices,
        or_(Run.needs_kind.is_(None), Run.needs_kind == (serves.kind or "")),
        or_(Run.needs_bits.is_(None), Run.needs_bits.in_(serves.few_bits)),
    )
    if serves.memory_bytes is not None:
        fits = Run.needs_memory_bytes <= serves.memory_bytes
        query = query.where(or_(Run.needs_memory_bytes.is_(None), fits))
    if held_back:
        allowed = Run.requested_by_id.not_in(sorted(held_back))
        query = query.where(or_(Run.requested_by_id.is_(None), allowed))
    found = session.execute(query.order_by(*ORDER).limit(1).with_for_update(skip_locked=True))
    row = found.one_or_none()
    return None if row is None else FirstInTurn(*row)


def waiting_for(session: Session, kind: str, limit: int) -> list[str]:
    """Return the first runs that wait and that this kind of device can train."""
    suits = or_(Run.needs_kind.is_(None), Run.needs_kind == kind)
    query = select(Run.id).where(_waits(), suits).order_by(*ORDER).limit(limit)
    return list(session.scalars(query))


def now_in_queue(session: Session, joining: Run) -> float:
    """Return where the line is that a run joins.

    That is the tag of the run that was begun last of it, or else of the first that waits.
    """
    others = (_line(joining.needs_kind), Run.id != joining.id)
    begun = select(func.max(Run.turn)).where(Run.status.in_(ACTIVE), *others).scalar_subquery()
    first = select(func.min(Run.turn)).where(_waits(), *others).scalar_subquery()
    anywhere = select(func.max(Run.turn)).where(Run.status.in_(ACTIVE)).scalar_subquery()
    return float(session.scalar(select(func.coalesce(begun, first, anywhere, 0.0))) or 0.0)


def own_end(session: Session, joining: Run) -> float | None:
    """Return where the other runs of a line end that the same person asked for."""
    query = select(func.max(Run.turn + _expected())).where(
        Run.status.in_((*ACTIVE, RunStatus.QUEUED)),
        _of(joining.requested_by_id),
        _line(joining.needs_kind),
        Run.id != joining.id,
    )
    return session.scalar(query)


def begin_use(session: Session, run_id: str, person_id: str | None) -> None:
    """Write down that a run has a device from now on."""
    session.execute(
        insert(DeviceUse).values(run_id=run_id, person_id=person_id, began_at=database_epoch())
    )


def end_use(session: Session, run_id: str) -> float:
    """Write down that a run has its device no longer; return for how many seconds it had it."""
    took = session.execute(
        update(DeviceUse)
        .where(DeviceUse.run_id == run_id, DeviceUse.ended_at.is_(None))
        .values(ended_at=database_epoch())
        .returning(DeviceUse.ended_at - DeviceUse.began_at)
        .execution_options(synchronize_session=False)
    ).scalars()
    return sum(seconds for seconds in took if seconds is not None)


def forget_uses(session: Session, seconds_ago: float) -> int:
    """Delete what ended longer ago than that; return how many they were."""
    gone = session.execute(
        delete(DeviceUse)
        .where(DeviceUse.ended_at < database_epoch() - seconds_ago)
        .returning(DeviceUse.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


def settle(session: Session, run_id: str, took: float) -> None:
    """Move the later runs of whoever asked for a run that leaves: what it took counts.

    Those that another transaction holds are left where they are, so that nobody waits here for
    anyone: a run that is just being claimed has had its turn.
    """
    gone = session.execute(
        select(Run.requested_by_id, Run.needs_kind, Run.turn, _expected()).where(Run.id == run_id)
    ).one()
    person_id, needs_kind, turn, expected = gone
    owed = took - expected
    if abs(owed) < TOO_LITTLE_TO_MOVE * expected:
        return
    later = (
        select(Run.id)
        .where(_waits(), _of(person_id), _line(needs_kind), Run.turn > turn)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(Run)
        .where(Run.id.in_(later))
        .values(turn=Run.turn + owed)
        .execution_options(synchronize_session=False)
    )


def limits(session: Session) -> Limits:
    rows = session.scalars(select(QueueLimit).order_by(QueueLimit.id.desc())).all()
    everybody = Limit()
    own: dict[str, Limit] = {}
    for row in rows:
        limit = Limit(row.runs_at_once, row.device_hours_a_week)
        if row.person_id is None:
            everybody = limit
        else:
            own[row.person_id] = limit
    return Limits(everybody, own)


def limit_row(session: Session, person_id: str | None) -> QueueLimit | None:
    own = QueueLimit.person_id.is_(None) if person_id is None else QueueLimit.person_id == person_id
    return session.scalar(select(QueueLimit).where(own).order_by(QueueLimit.id).limit(1))


def keep_limit(session: Session, row: QueueLimit) -> None:
    session.add(row)
    session.flush()


def drop_limit(session: Session, row: QueueLimit) -> None:
    session.delete(row)
    session.flush()


def in_work_by_person(session: Session) -> dict[str, int]:
    """Return how many runs of each person are in work."""
    rows = session.execute(
        select(Run.requested_by_id, func.count())
        .where(Run.status.in_(ACTIVE), Run.requested_by_id.is_not(None))
        .group_by(Run.requested_by_id)
    )
    return {str(person_id): count for person_id, count in rows}


def in_work_once_locked(session: Session, person_id: str) -> int:
    """Count a person's runs in work, while nobody else begins one of theirs until the commit."""
    lock = select(User.id).where(User.id == person_id).with_for_update(key_share=True)
    session.execute(lock).all()
    query = select(func.count()).where(Run.status.in_(ACTIVE), Run.requested_by_id == person_id)
    return session.scalar(query) or 0


def seconds_used(session: Session, seconds_ago: float) -> tuple[float, dict[str, float]]:
    """Return the database's time, and how long each person had devices since so long ago."""
    moment = float(session.scalar(select(database_epoch())) or 0.0)
    since = moment - seconds_ago
    began = case((DeviceUse.began_at < since, since), else_=DeviceUse.began_at)
    rows = session.execute(
        select(DeviceUse.person_id, func.sum(func.coalesce(DeviceUse.ended_at, moment) - began))
        .where(DeviceUse.person_id.is_not(None), _lasted_after(since))
        .group_by(DeviceUse.person_id)
    )
    return moment, {str(person_id): float(seconds) for person_id, seconds in rows}


def seconds_used_by(session: Session, person_id: str, seconds_ago: float) -> float:
    """Return how long one person had devices since so long ago."""
    since = database_epoch() - seconds_ago
    began = case((DeviceUse.began_at < since, since), else_=DeviceUse.began_at)
    used = func.sum(func.coalesce(DeviceUse.ended_at, database_epoch()) - began)
    query = select(used).where(DeviceUse.person_id == person_id, _lasted_after(since))
    return float(session.scalar(query) or 0.0)


def uses_of(session: Session, people: Collection[str], since: float, moment: float) -> Uses:
    """Return when some people had a device since a time; what lasts ends at the moment."""
    uses: Uses = defaultdict(list)
    if people:
        rows = session.execute(
            select(DeviceUse.person_id, DeviceUse.began_at, DeviceUse.ended_at).where(
                DeviceUse.person_id.in_(sorted(people)), _lasted_after(since)
            )
        )
        for person_id, began_at, ended_at in rows:
            uses[str(person_id)].append(Use(began_at, moment if ended_at is None else ended_at))
    return uses


def waiting_tags(session: Session) -> list[tuple[str, float]]:
    """Return id and tag of all that wait, in the order of their turn."""
    query = select(Run.id, Run.turn).where(_waits()).order_by(*ORDER)
    return [(run_id, turn) for run_id, turn in session.execute(query)]


def set_turn(session: Session, run_id: str, turn: float) -> bool:
    """Give a run another tag; False if it waits no longer."""
    changed = session.execute(
        update(Run)
        .where(Run.id == run_id, _waits())
        .values(turn=turn)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return changed.scalar_one_or_none() is not None


def with_people(session: Session, run_ids: Sequence[str]) -> dict[str, tuple[Run, str]]:
    """Return runs with the names of those who asked for them; empty for nobody."""
    rows = session.execute(
        select(Run, User.name)
        .outerjoin(User, User.id == Run.requested_by_id)
        .where(Run.id.in_(run_ids))
    )
    return {run.id: (run, name or "") for run, name in rows}


def _lasted_after(moment: float | ColumnElement[float]) -> ColumnElement[bool]:
    return or_(DeviceUse.ended_at.is_(None), DeviceUse.ended_at > moment)


def _waits() -> ColumnElement[bool]:
    return Run.status == RunStatus.QUEUED


def _of(person_id: str | None) -> ColumnElement[bool]:
    return Run.requested_by_id.is_(None) if person_id is None else Run.requested_by_id == person_id


def _line(needs_kind: str | None) -> ColumnElement[bool]:
    return Run.needs_kind.is_(None) if needs_kind is None else Run.needs_kind == needs_kind


def _expected() -> ColumnElement[float]:
    return func.coalesce(Run.expected_seconds, ORDINARY_SECONDS)
