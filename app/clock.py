"""The process's own clock, for what is shown to people. Leases use the database's clock."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
