"""Writing down who did what, in the transaction of the deed: both are kept, or neither.

The edge says once who acts in a session (`act_as`); the services say what was done (`record`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from app.audit import repository
from app.audit.tables import AuditEvent

EVENTS_PER_PAGE: Final = 50
_ACTOR: Final = "tailor_actor"


class Action(StrEnum):
    """What is written down. The value stands in the database, so it never changes."""

    SET_UP = "set_up"
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    SESSION_ENDED = "session_ended"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a deed
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a deed
    RESET_LINK_MADE = "reset_link_made"
    RESET_LINK_WITHDRAWN = "reset_link_withdrawn"
    INVITED = "invited"
    INVITATION_ACCEPTED = "invitation_accepted"
    INVITATION_WITHDRAWN = "invitation_withdrawn"
    PERSON_ADDED = "person_added"
    MADE_ADMINISTRATOR = "made_administrator"
    ADMINISTRATOR_NO_LONGER = "administrator_no_longer"
    SWITCHED_ON = "switched_on"
    SWITCHED_OFF = "switched_off"
    PROJECT_CREATED = "project_created"
    PROJECT_DELETED = "project_deleted"
    MEMBER_ADDED = "member_added"
    ROLE_CHANGED = "role_changed"
    MEMBER_REMOVED = "member_removed"
    PROJECT_LEFT = "project_left"
    IMPORT_CONFIRMED = "import_confirmed"
    IMPORT_DELETED = "import_deleted"
    DOWNLOAD_ASKED = "base_model_download_asked"
    FOLDER_REGISTERED = "base_model_folder_registered"
    BASE_MODEL_DELETED = "base_model_deleted"
    HUB_TOKEN_STORED = "hub_token_stored"  # noqa: S105 - the name of a deed
    HUB_TOKEN_FORGOTTEN = "hub_token_forgotten"  # noqa: S105 - the name of a deed
    VERSION_DOWNLOADED = "version_downloaded"
    RUN_PUT_FIRST = "run_put_first"
    RUN_PUT_LATER = "run_put_later"
    RUN_PUT_LAST = "run_put_last"
    QUEUE_LIMIT_SET = "queue_limit_set"
    QUEUE_LIMIT_DROPPED = "queue_limit_dropped"


@dataclass(frozen=True)
class Actor:
    """Who acts, and from where."""

    id: str | None = None
    name: str = ""
    address: str = ""


@dataclass(frozen=True)
class Thing:
    """What was acted upon: its kind, its id, and what it was called at that moment."""

    kind: str
    id: str = ""
    name: str = ""


def act_as(session: Session, actor: Actor) -> None:
    """Say who does what is recorded in this session from here on."""
    session.info[_ACTOR] = actor


def identify(session: Session, person_id: str, name: str) -> None:
    """Say who it is that acts, once a link or a password has shown it."""
    act_as(session, replace(actor_of(session), id=person_id, name=name))


def actor_of(session: Session) -> Actor:
    actor: Actor = session.info.get(_ACTOR, Actor())
    return actor


def record(session: Session, action: Action, thing: Thing, **details: str | int | bool) -> None:
    """Add one row about what is being done; it stays only if the transaction does."""
    actor = actor_of(session)
    event = AuditEvent(
        actor_id=actor.id,
        actor_name=actor.name[:200],
        address=actor.address[:64],
        action=action,
        object_kind=thing.kind,
        object_id=thing.id,
        object_name=thing.name[:400],
        details=details,
    )
    repository.add(session, event)


def newest_events(session: Session, before_id: int | None = None) -> Sequence[AuditEvent]:
    """Return one page of what happened, the newest first."""
    return repository.newest(session, EVENTS_PER_PAGE, before_id)
