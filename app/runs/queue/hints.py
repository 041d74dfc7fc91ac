"""Hints about waiting runs: to a job queue for each kind of device, and only where one is there.

A message wakes a worker and decides nothing: what is woken claims whatever is first for its device.
So a run that any device can train wakes all kinds, and one hint for each device is always enough.
"""

from sqlalchemy.orm import Session

from app.jobs import EXECUTE_RUN, RUNS_QUEUE, Hint, runs_queue, send_after_commit
from app.runs.queue import repository
from app.runs.queue.needs import Needs, Serves
from app.workers.repository import devices_there


def wake_workers(session: Session, run_id: str, needs: Needs) -> None:
    """Tell each kind of device that could train a run that it waits, after the commit."""
    kinds = {
        one.kind
        for facts in devices_there(session, RUNS_QUEUE)
        for one in facts.each()
        if Serves.by(one).can_train(needs)
    }
    for kind in sorted(kinds):
        send_after_commit(session, EXECUTE_RUN, run_id, queue=runs_queue(kind))


def pending_runs(session: Session) -> list[Hint]:
    """Return the hints that wake every device for which a run waits; the sweeper sends them."""
    devices: dict[str, int] = {}
    for facts in devices_there(session, RUNS_QUEUE):
        devices[facts.kind] = devices.get(facts.kind, 0) + facts.count
    return [
        Hint(EXECUTE_RUN, run_id, runs_queue(kind))
        for kind, count in sorted(devices.items())
        for run_id in repository.waiting_for(session, kind, count)
    ]
