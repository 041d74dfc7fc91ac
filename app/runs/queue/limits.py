"""What an administrator allows each person, and whom that holds back now. Pure.

A limit decides what may start. A training that has started is never broken off by one, so the last
run of a week may end beyond its hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

WEEK_SECONDS: Final = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Limit:
    """How much one person may have; None stands for any amount."""

    runs_at_once: int | None = None
    device_hours_a_week: float | None = None

    @property
    def is_empty(self) -> bool:
        return self.runs_at_once is None and self.device_hours_a_week is None


@dataclass(frozen=True)
class Limits:
    """The limit of everybody, and those of people who have their own."""

    everybody: Limit = field(default_factory=Limit)
    own: Mapping[str, Limit] = field(default_factory=dict)

    def of(self, person_id: str | None) -> Limit:
        """Return a person's limit; a run that nobody asked for has none."""
        if person_id is None:
            return Limit()
        return self.own.get(person_id, self.everybody)

    @property
    def are_empty(self) -> bool:
        return all(limit.is_empty for limit in (self.everybody, *self.own.values()))

    @property
    def count_runs(self) -> bool:
        """Whether anyone's runs in work are limited."""
        return any(limit.runs_at_once is not None for limit in (self.everybody, *self.own.values()))

    @property
    def count_hours(self) -> bool:
        """Whether anyone's hours are limited."""
        return any(
            limit.device_hours_a_week is not None for limit in (self.everybody, *self.own.values())
        )


@dataclass(frozen=True)
class Use:
    """From when to when someone had a device, in seconds since 1970."""

    began_at: float
    ended_at: float


@dataclass(frozen=True)
class Hold:
    """Why a person's next run may not start yet.

    Attributes:
        reason: which of the two limits holds it back.
        allowed: runs, or hours.
        until: seconds since 1970; None where it depends on when a run in work ends.
    """

    reason: Literal["runs_at_once", "device_hours"]
    allowed: float
    until: float | None = None


def hold_of(limit: Limit, in_work: int, uses: Sequence[Use], moment: float) -> Hold | None:
    """Return what holds a person back at a moment, or None.

    Hours come first: they last longer than a run.

    Args:
        limit: what the person may have.
        in_work: how many of the person's runs are in work.
        uses: when they had a device in the last seven days; what lasts ends at the moment.
        moment: seconds since 1970 on the clock of the uses.
    """
    hours = limit.device_hours_a_week
    if hours is not None:
        until = _free_again_at(uses, hours * 3600, moment)
        if until is not None:
            return Hold("device_hours", hours, until)
    if limit.runs_at_once is not None and in_work >= limit.runs_at_once:
        return Hold("runs_at_once", limit.runs_at_once)
    return None


def _free_again_at(uses: Sequence[Use], allowed_seconds: float, moment: float) -> float | None:
    """Return when the seven days behind hold less use than is allowed; None if they do now."""
    recent = [
        Use(max(use.began_at, moment - WEEK_SECONDS), use.ended_at)
        for use in sorted(uses, key=lambda use: use.began_at)
        if use.ended_at > moment - WEEK_SECONDS
    ]
    excess = sum(use.ended_at - use.began_at for use in recent) - allowed_seconds
    if excess < 0:
        return None
    for use in recent:
        length = use.ended_at - use.began_at
        if excess < length:
            return use.began_at + WEEK_SECONDS + excess
        excess -= length
    return moment + WEEK_SECONDS
