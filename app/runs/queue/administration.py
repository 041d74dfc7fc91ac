"""What administrators change about the queue. Each change is written down with who made it."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.accounts.repository import user_by_id
from app.audit.service import Action, Thing, record
from app.runs import repository as runs
from app.runs.errors import NotWaitingError, UnknownPersonError, UnusableLimitError
from app.runs.queue import repository
from app.runs.queue.limits import WEEK_SECONDS, Limit
from app.runs.queue.tables import QueueLimit
from app.runs.queue.turns import order_of_tags

MOST_RUNS_AT_ONCE = 1000
MOST_HOURS = WEEK_SECONDS / 3600 * 1000
_EVERYBODY = "everybody"


def put_first(session: Session, run_id: str) -> None:
    """Put a waiting run before all others; raises NotWaitingError if it waits no longer."""
    _move(session, run_id, Action.RUN_PUT_FIRST, lambda place, count: 0)  # noqa: ARG005


def put_later(session: Session, run_id: str) -> None:
    """Let the next one go before a waiting run; raises NotWaitingError if it waits no longer."""
    _move(session, run_id, Action.RUN_PUT_LATER, lambda place, count: min(place + 1, count - 1))


def put_last(session: Session, run_id: str) -> None:
    """Put a waiting run behind all others; raises NotWaitingError if it waits no longer."""
    _move(session, run_id, Action.RUN_PUT_LAST, lambda place, count: count - 1)  # noqa: ARG005


def read_limit(runs_at_once: str, device_hours_a_week: str) -> Limit:
    """Turn what was typed into a limit; what is empty limits nothing.

    Raises:
        UnusableLimitError: for what is no number or lies outside its bounds.
    """
    runs_number = _number(runs_at_once, "runs_at_once", "Trainings at once", 1, MOST_RUNS_AT_ONCE)
    hours = _number(device_hours_a_week, "device_hours_a_week", "Hours", 0.1, MOST_HOURS)
    if runs_number is not None and runs_number != int(runs_number):
        raise UnusableLimitError("runs_at_once", "Trainings at once", 1, MOST_RUNS_AT_ONCE)
    return Limit(None if runs_number is None else int(runs_number), hours)


def set_limit(session: Session, person_id: str | None, limit: Limit) -> None:
    """Say how much a person may have, or everybody who has no limit of their own (None).

    Raises:
        UnknownPersonError: if nobody has this id.
    """
    name = _name_of(session, person_id)
    row = repository.limit_row(session, person_id) or QueueLimit(person_id=person_id)
    row.runs_at_once = limit.runs_at_once
    row.device_hours_a_week = limit.device_hours_a_week
    repository.keep_limit(session, row)
    record(
        session,
        Action.QUEUE_LIMIT_SET,
        Thing("person", person_id or "", name),
        runs_at_once="any number" if limit.runs_at_once is None else limit.runs_at_once,
        device_hours="any number"
        if limit.device_hours_a_week is None
        else f"{limit.device_hours_a_week:g}",
    )


def drop_limit(session: Session, person_id: str) -> None:
    """Let the limit of everybody count for a person again.

    Raises:
        UnknownPersonError: if nobody has this id.
    """
    name = _name_of(session, person_id)
    row = repository.limit_row(session, person_id)
    if row is None:
        return
    repository.drop_limit(session, row)
    record(session, Action.QUEUE_LIMIT_DROPPED, Thing("person", person_id, name))


def _move(session: Session, run_id: str, action: Action, to: Callable[[int, int], int]) -> None:
    tags = repository.waiting_tags(session)
    ids = [waiting for waiting, _ in tags]
    if run_id not in ids:
        raise NotWaitingError
    place = ids.index(run_id)
    for moved, turn in order_of_tags(tags, place, to(place, len(tags))).items():
        if not repository.set_turn(session, moved, turn) and moved == run_id:
            raise NotWaitingError
    (run,) = runs.by_ids(session, [run_id])
    record(session, action, Thing("run", run_id), version=run.version_number)


def _name_of(session: Session, person_id: str | None) -> str:
    if person_id is None:
        return _EVERYBODY
    user = user_by_id(session, person_id)
    if user is None:
        raise UnknownPersonError
    return user.name


def _number(typed: str, field: str, label: str, lowest: float, highest: float) -> float | None:
    text = typed.strip().replace(",", "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not lowest <= number <= highest:
        raise UnusableLimitError(field, label, lowest, highest)
    return number
