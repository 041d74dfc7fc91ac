"""When waiting runs will start: the queue, played forward."""

from dataclasses import replace
from typing import Any

import pytest

from app.runs.queue.forecast import People, Start, forecast
from app.runs.queue.limits import WEEK_SECONDS, Hold, Limit, Limits, Use, hold_of
from app.runs.queue.needs import Needs
from app.runs.queue.places import places
from app.runs.queue.repository import QueueEntry
from app.workers.device import DeviceFacts, DeviceKind
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


def test_a_run_on_several_devices_frees_them_together() -> None:
    wide = replace(in_work("a", 40), device=_has(cards(3), 2))
    entries = [wide, replace(waiting("b", 60), devices=3), waiting("c", 10), waiting("d", 10)]
    starts = forecast(entries, [cards(3)])
    # “b” begins on the only one that is free, instead of waiting for others.
    assert {name: start.seconds for name, start in starts.items()} == {"b": 0, "c": 40, "d": 40}
    entries = [replace(waiting("b", 60), devices=3), waiting("c", 10)]
    assert forecast(entries, [cards(3)])["c"].seconds == 60


def test_what_must_have_several_devices_is_not_overtaken_on_its_machine() -> None:
    divided = replace(waiting("b", 60, needs=Needs(devices=2)), devices=2)
    entries = [replace(in_work("a", 40), device=_has(cards(2), 1)), divided, waiting("c", 10)]
    starts = forecast(entries, [cards(2)])
    assert {name: start.seconds for name, start in starts.items()} == {"b": 40, "c": 100}
    # A machine that could not train it anyway passes it over.
    starts = forecast(entries, [cards(2), ONE_CPU])
    assert {name: start.seconds for name, start in starts.items()} == {"b": 40, "c": 0}
    place = places([divided], ["b"], [ONE_CPU])["b"]
    assert place.lacks == Needs(devices=2)


def _has(facts: DeviceFacts, count: int) -> dict[str, Any]:
    first, *further = facts.each()[:count]
    return first.as_json() | {"further": [one.device.model_dump() for one in further]}


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
