"""What the pages that follow runs ask, for all watchers at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.sign_in import IDLE_LIFETIME
from app.accounts.tables import User, UserSession
from app.clock import now
from app.projects.tables import ProjectMember, Role
from app.runs.tables import Run, RunEvent


@dataclass(frozen=True)
class RunState:
    """All that changes on a run's page, small enough to be read every second."""

    run_id: str
    status: str
    event_count: int
    step: int
    epoch: float
    tokens_per_second: float | None
    seconds_left: float | None
    memory_bytes: int | None
    phase_share: float | None


def run_states(session: Session, run_ids: Collection[str]) -> list[RunState]:
    rows = session.execute(
        select(
            Run.id,
            Run.status,
            Run.event_count,
            Run.step,
            Run.epoch,
            Run.tokens_per_second,
            Run.seconds_left,
            Run.memory_bytes,
            Run.phase_share,
        ).where(Run.id.in_(run_ids))
    )
    return [RunState(*row) for row in rows]


def events_after(session: Session, run_id: str, sequence: int, limit: int) -> Sequence[RunEvent]:
    return session.scalars(
        select(RunEvent)
        .where(RunEvent.run_id == run_id, RunEvent.sequence > sequence)
        .order_by(RunEvent.sequence)
        .limit(limit)
    ).all()


def roles(session: Session, watchers: Collection[tuple[str, str]]) -> dict[tuple[str, str], Role]:
    """Return who of (sign-in id, project id) still may watch, and with which role.

    Someone who signed out, whose sign-in ran out, who was switched off, or who left the project
    is not among them.
    """
    moment = now()
    rows = session.execute(
        select(UserSession.id, ProjectMember.project_id, ProjectMember.role)
        .join(User, User.id == UserSession.user_id)
        .join(ProjectMember, ProjectMember.user_id == User.id)
        .where(
            UserSession.id.in_({sign_in for sign_in, _ in watchers}),
            ProjectMember.project_id.in_({project for _, project in watchers}),
            UserSession.expires_at > moment,
            UserSession.last_seen_at > moment - IDLE_LIFETIME,
            User.is_active,
        )
    )
    wanted = set(watchers)
    return {
        (sign_in, project): Role(role)
        for sign_in, project, role in rows
        if (sign_in, project) in wanted
    }
