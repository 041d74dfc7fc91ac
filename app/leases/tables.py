"""The columns of a row that a worker claims, holds by heartbeats, and gives back."""

import os

from sqlalchemy.orm import Mapped, mapped_column

# No setting, since all processes must agree on it. Only tests of lost workers shorten it, so that
# they need not wait half a minute for each.
LEASE_SECONDS = float(os.environ.get("TAILOR_TEST_LEASE_SECONDS", "30"))
HEARTBEAT_SECONDS = LEASE_SECONDS / 6
MAX_ATTEMPTS = 3


class LeaseMixin:
    """Mixed into the tables of everything a worker does.

    Every write of the owner says `WHERE fence = :mine`. A claim raises the fence, so an owner that
    slept past its lease changes no row any more (Kleppmann, "How to do distributed locking", 2016).
    """

    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(default=None)
    lease_expires_at: Mapped[float | None] = mapped_column(default=None)
    """Seconds since 1970 on the database's clock; None while nobody holds it."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Claims so far that ended without a result."""
