"""The table of legal moves, written a second time on purpose."""

import itertools

import pytest

from app.runs.status import ACTIVE, FINAL, IllegalMoveError, RunStatus, check_move

_LEGAL = {
    "queued": "starting paused failed cancelled",
    "starting": "training evaluating saving queued paused failed cancelled",
    "training": "evaluating saving queued paused failed cancelled",
    "evaluating": "training saving queued paused failed cancelled",
    "saving": "training succeeded queued paused failed cancelled",
    "paused": "queued failed cancelled",
    "succeeded": "",
    "failed": "queued",
    "cancelled": "",
}


@pytest.mark.parametrize(("before", "after"), [*itertools.product(RunStatus, RunStatus)])
def test_only_the_legal_moves_are_made(before: RunStatus, after: RunStatus) -> None:
    if before == after or after.value in _LEGAL[before.value].split():
        check_move(before, after)
    else:
        with pytest.raises(IllegalMoveError):
            check_move(before, after)


def test_every_status_is_waiting_active_or_final() -> None:
    waiting = {RunStatus.QUEUED, RunStatus.PAUSED}
    assert waiting | set(ACTIVE) | set(FINAL) == set(RunStatus)
