"""When waiting runs will start: the queue, played forward."""

import pytest

from app.runs.queue.forecast import People, Start, forecast
from app.runs.queue.limits import WEEK_SECONDS, Hold, Limit, Limits, Use, hold_of
from app.runs.queue.needs import Needs
from app.runs.queue.places import places
from app.runs.queue.repository import QueueEntry
from app.workers.device import DeviceKind
from tests.support.devices import GIGABYTE, ONE_CPU, cards


def waiting(
    run_id: str, seconds: float | None, person: str = "", needs: Needs | None = None
) -> QueueEntry:
    return QueueEntry(
        run_id,
        is_active=False,
        expected_seconds=seconds,
        seconds_left=None,
        person_id=person or None,
        needs=needs or Needs(),
    )


def in_work(run_id: str, left: float, person: str = "") -> QueueEntry:
    return QueueEntry(
        run_id, is_active=True, expected_seconds=100, seconds_left=left, person_id=person or None
    )


def test_one_device_takes_one_after_the_other() -> None:
    entries = [in_work("a", 40), waiting("b", 60), waiting("c", None), waiting("d", 5)]
    assert forecast(entries, [ONE_CPU]) == {
        "b": Start(0, 40),
        "c": Start(1, 100),
        "d": Start(2, 400),
    }


def test_several_devices_share_the_queue() -> None:
    entries = [in_work("a", 40), *(waiting(name, 60) for name in "bcde")]
    starts = forecast(entries, [cards(2)])
    assert {name: start.seconds for name, start in starts.items()} == {
        "b": 0,
        "c": 40,
        "d": 60,
        "e": 100,
    }


def test_a_device_passes_over_what_it_cannot_train() -> None:
    card = Needs(DeviceKind.CUDA)
    large = Needs(memory_bytes=80 * GIGABYTE)
    entries = [
        waiting("card", 10, needs=card),
        waiting("large", 10, needs=large),
        waiting("any", 10),
    ]
    assert forecast(entries, [ONE_CPU]) == {"any": Start(0, 0)}
    both = forecast(entries, [ONE_CPU, cards(1)])
    assert both == {"card": Start(0, 0), "any": Start(1, 0)}
    assert set(forecast(entries, [cards(1, 80 * GIGABYTE)])) == {"card", "large", "any"}
    assert forecast(entries, []) == {}


def test_a_limit_lets_others_go_before() -> None:
    people = People(Limits(Limit(runs_at_once=1)), {"ann": Hold("runs_at_once", 1)})
    entries = [
        in_work("a", 50, "ann"),
        waiting("b", 60, "ann"),
        waiting("c", 60, "ann"),
        waiting("d", 60, "bob"),
    ]
    starts = forecast(entries, [cards(2)], people)
    assert starts == {"d": Start(0, 0), "b": Start(1, 50), "c": Start(2, 110)}
    place = places(entries, ["b"], [cards(2)], people)["b"]
    assert (place.ahead, place.in_work, place.hold) == (1, 1, people.holds["ann"])


def test_hours_that_come_back_are_waited_for() -> None:
    people = People(Limits(), {"ann": Hold("device_hours", 2, until=1500.0)}, moment=1000.0)
    entries = [waiting("a", 60, "ann"), waiting("b", 60, "bob")]
    assert forecast(entries, [ONE_CPU], people) == {"b": Start(0, 0), "a": Start(1, 500)}


def test_ten_thousand_runs_are_played_forward() -> None:
    entries = [waiting(str(number), 60, f"person {number % 50}") for number in range(10_000)]
    people = People(Limits(Limit(runs_at_once=2)), {})
    starts = forecast(entries, [cards(8) for _ in range(25)], people)
    assert len(starts) == 10_000
    # Of fifty people with two at once, a hundred begin each minute, although 200 devices are there.
    assert sorted({start.seconds for start in starts.values()}) == [60.0 * m for m in range(100)]


@pytest.mark.parametrize(
    ("uses", "until"),
    [
        ([], None),
        ([Use(900, 1000)], None),
        ([Use(0, 3600)], WEEK_SECONDS),
        ([Use(0, 1800), Use(2000, 4700)], WEEK_SECONDS + 900),
        ([Use(0, 600), Use(1000, 4600)], WEEK_SECONDS + 1000),
    ],
)
def test_hours_are_free_again_when_enough_lie_a_week_back(
    uses: list[Use], until: float | None
) -> None:
    hold = hold_of(Limit(device_hours_a_week=1), 0, uses, moment=5000.0)
    assert (hold.until if hold else None) == until


def test_what_lies_a_week_back_no_longer_counts() -> None:
    moment = WEEK_SECONDS + 5000
    assert hold_of(Limit(device_hours_a_week=1), 0, [Use(0, 6000)], moment) is None
    hold = hold_of(Limit(1, 1), 1, [Use(0, 6000)], moment)
    assert hold is not None
    assert hold.reason == "runs_at_once"
