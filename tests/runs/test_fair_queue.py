"""People take turns, limits hold, and a run goes only to a device that can train it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from app.accounts.tables import User
from app.audit.service import newest_events
from app.base_models.service import register_built_in
from app.database.session import transaction
from app.ids import new_id
from app.projects.service import create_project
from app.runs import holding
from app.runs.errors import NotWaitingError, UnusableLimitError
from app.runs.holding import HeldRun, claim_next_run
from app.runs.methods import Quantization
from app.runs.queue import administration, repository
from app.runs.queue.claiming import is_any_for, line_up, people_now, places_in_queue
from app.runs.queue.limits import WEEK_SECONDS, Limit
from app.runs.queue.needs import Needs, needs_of
from app.runs.queue.tables import DeviceUse
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.steering import cancel_run, continue_run
from app.runs.tables import Run
from app.storage.folders import Storage
from app.workers.device import DeviceKind, OneDevice
from tests.support.devices import GIGABYTE, ONE_CPU, a_worker_is_there, cards, with_few_bits
from tests.support.runs import RECIPE_OF_NOTHING, get_run


class Queue:
    """People and their runs. No file is written: nothing here is trained."""

    def __init__(self, engine: Engine, storage: Storage) -> None:
        self.engine = engine
        self._projects: dict[str, tuple[str, str]] = {}
        with transaction(engine) as session:
            register_built_in(session, storage)

    def person(self, name: str) -> str:
        return self._project(name)[0]

    def ask(self, name: str, count: int = 1, **values: Any) -> list[str]:  # noqa: ANN401
        """Queue runs of 100 seconds for someone; their ids."""
        person_id, project_id = self._project(name)
        ids = []
        for _ in range(count):
            with transaction(self.engine) as session:
                run = Run(
                    id=new_id(),
                    project_id=project_id,
                    version_number=self._next_version(),
                    base_model_id="starter",
                    requested_by_id=person_id,
                    recipe=RECIPE_OF_NOTHING.model_dump(mode="json"),
                    snapshot_sha256="0" * 64,
                    train_count=1,
                    validation_count=0,
                    event_count=0,
                    **{"expected_seconds": 100.0, **values},
                )
                line_up(session, run)
                session.add(run)
            ids.append(run.id)
        return ids

    def claim(self, device: OneDevice | None = None) -> HeldRun | None:
        with transaction(self.engine) as session:
            return claim_next_run(session, device)

    def work(self, device: OneDevice | None = None, took: float = 100.0) -> str | None:
        """Train the next run as if it took so long; whose it was."""
        held = self.claim(device)
        if held is None:
            return None
        self.finish(held, took)
        return self.whose(held.id)

    def finish(self, held: HeldRun, took: float = 100.0) -> None:
        with transaction(self.engine) as session:
            for use in session.query(DeviceUse).filter_by(run_id=held.id, ended_at=None):
                use.began_at -= took
        with transaction(self.engine) as session:
            run = lock(session, held.id)
            assert run is not None
            holding.end_locked(session, run, RunStatus.FAILED, "It is over.")

    def whose(self, run_id: str) -> str:
        person_id = get_run(self.engine, run_id).requested_by_id
        return next(name for name, (found, _) in self._projects.items() if found == person_id)

    def order(self) -> list[str]:
        """The ids of all that wait, as the pages show them."""
        with transaction(self.engine, read_only=True) as session:
            return [entry.run_id for entry in repository.entries(session) if not entry.is_active]

    def names_in_order(self) -> list[str]:
        return [self.whose(run_id) for run_id in self.order()]

    def _project(self, name: str) -> tuple[str, str]:
        if name not in self._projects:
            with transaction(self.engine) as session:
                user = User(email=f"{name}@example.org", name=name, password_hash="-")
                session.add(user)
                session.flush()
                project = create_project(session, user.id, f"{name}'s")
                self._projects[name] = (user.id, project.id)
        return self._projects[name]

    def _next_version(self) -> int:
        self._version = getattr(self, "_version", 0) + 1
        return self._version


@pytest.fixture
def queue(engine: Engine, storage: Storage, hints: object) -> Queue:  # noqa: ARG001
    return Queue(engine, storage)


class TestTurns:
    def test_two_people_alternate_however_many_runs_each_has(self, queue: Queue) -> None:
        queue.ask("ann", 6)
        queue.ask("bob", 3)
        begun = [queue.work() for _ in range(9)]
        assert begun == ["ann", "bob"] * 3 + ["ann"] * 3
        assert queue.work() is None

    def test_whoever_comes_late_does_not_wait_behind_everything(self, queue: Queue) -> None:
        queue.ask("ann", 8)
        for _ in range(3):
            queue.work()
        queue.ask("bob", 2)
        queue.ask("cid", 1)
        begun = [queue.work() for _ in range(6)]
        # Ann had the device while nobody else wanted it, and does not pay for it now.
        assert sorted(begun[:3]) == ["ann", "bob", "cid"]  # type: ignore[type-var]
        assert sorted(begun[3:5]) == ["ann", "bob"]  # type: ignore[type-var]

    def test_turns_are_of_time_and_not_of_number(self, queue: Queue) -> None:
        queue.ask("ann", 3, expected_seconds=600.0)
        queue.ask("bob", 12, expected_seconds=100.0)
        seconds = {"ann": 0.0, "bob": 0.0}
        for _ in range(9):
            held = queue.claim()
            assert held is not None
            took = float(get_run(queue.engine, held.id).expected_seconds or 0)
            queue.finish(held, took)
            seconds[queue.whose(held.id)] += took
        assert abs(seconds["ann"] - seconds["bob"]) <= 600

    def test_what_a_run_really_took_counts(self, queue: Queue) -> None:
        queue.ask("ann", 4)
        queue.ask("bob", 8)
        assert queue.work(took=395.0) == "ann"
        # That was nearly four of the turns that it was thought to be.
        assert [queue.work() for _ in range(6)] == ["bob"] * 4 + ["ann", "bob"]

    def test_the_claim_follows_the_order_that_the_pages_show(self, queue: Queue) -> None:
        for name, count in (("ann", 4), ("bob", 2), ("cid", 3)):
            queue.ask(name, count)
        shown = queue.order()
        claimed = [held.id for _ in shown if (held := queue.claim()) is not None]
        assert claimed == shown

    def test_a_run_that_is_stopped_frees_its_place_for_the_persons_next(self, queue: Queue) -> None:
        mine = queue.ask("ann", 5)
        queue.ask("bob", 4)
        for run_id in mine[:4]:
            with transaction(queue.engine) as session:
                cancel_run(session, get_run(queue.engine, run_id))
        assert queue.order()[0] == mine[4]

    def test_what_lost_its_worker_is_next_again(self, queue: Queue) -> None:
        queue.ask("ann", 2)
        queue.ask("bob", 2)
        held = queue.claim()
        assert held is not None
        with transaction(queue.engine) as session:
            holding.requeue(session, held, "The worker stopped.")
        assert queue.order()[0] == held.id

    def test_a_run_that_goes_on_lines_up_again(self, queue: Queue) -> None:
        (first,) = queue.ask("ann")
        queue.ask("bob", 3)
        with transaction(queue.engine) as session:
            run = lock(session, first)
            assert run is not None
            run.status = RunStatus.PAUSED
        assert queue.work() == "bob"
        with transaction(queue.engine) as session:
            continue_run(session, get_run(queue.engine, first))
        assert queue.names_in_order()[:2] in (["ann", "bob"], ["bob", "ann"])


class TestDevices:
    def test_a_processor_takes_nothing_that_needs_a_card(self, queue: Queue) -> None:
        (needy,) = queue.ask("ann", needs_kind=DeviceKind.CUDA)
        (large,) = queue.ask("ann", needs_memory_bytes=100 * GIGABYTE)
        (cpu,) = ONE_CPU.each()
        assert queue.claim() is None or queue.whose(large) == "ann"
        assert queue.claim(cpu) is None
        (small,) = queue.ask("ann", needs_memory_bytes=GIGABYTE)
        held = queue.claim(cpu)
        assert held is not None
        assert held.id == small
        assert get_run(queue.engine, small).device == cpu.as_json()
        (card,) = cards().each()
        held = queue.claim(card)
        assert held is not None
        assert held.id == needy

    def test_few_bits_go_only_to_a_device_that_was_tried_and_can(self, queue: Queue) -> None:
        (needy,) = queue.ask("ann", needs_bits=Quantization.FOUR_BIT)
        (other,) = queue.ask("ann", needs_bits=Quantization.EIGHT_BIT)
        not_tried, one_form = ONE_CPU, with_few_bits(ONE_CPU, eight_bit="It does not run.")
        for device in (None, *not_tried.each()):
            assert queue.claim(device) is None
        a_worker_is_there(queue.engine, not_tried)
        with transaction(queue.engine) as session:
            assert places_in_queue(session, [needy])[needy].lacks is not None
        a_worker_is_there(queue.engine, one_form)
        with transaction(queue.engine) as session:
            found = places_in_queue(session, [needy, other])
        assert (found[needy].lacks, found[needy].ahead) == (None, 0)
        assert found[other].lacks is not None
        (device,) = one_form.each()
        held = queue.claim(device)
        assert held is not None
        assert held.id == needy
        assert get_run(queue.engine, needy).device == device.as_json()
        assert queue.claim(device) is None

    def test_a_machine_has_nothing_to_do_for_what_it_cannot_train(self, queue: Queue) -> None:
        cannot, can = ONE_CPU.each(), with_few_bits(ONE_CPU).each()
        queue.ask("ann", needs_bits=Quantization.FOUR_BIT)
        with transaction(queue.engine, read_only=True) as session:
            assert not is_any_for(session, cannot)
            assert is_any_for(session, can)
            assert is_any_for(session, [*cannot, *can])
        assert queue.claim(*can) is not None
        with transaction(queue.engine, read_only=True) as session:
            assert is_any_for(session, cannot), "what runs elsewhere may run on the same processor"

    def test_a_run_that_no_device_there_can_train_says_so(self, queue: Queue) -> None:
        (needy,) = queue.ask("ann", needs_kind=DeviceKind.CUDA)
        (other,) = queue.ask("bob")
        a_worker_is_there(queue.engine, ONE_CPU)
        with transaction(queue.engine) as session:
            found = places_in_queue(session, [needy, other])
        assert found[needy].lacks is not None
        assert found[needy].seconds_until_start is None
        assert (found[other].ahead, found[other].seconds_until_start) == (0, 0)
        a_worker_is_there(queue.engine, cards())
        with transaction(queue.engine) as session:
            assert places_in_queue(session, [needy])[needy].lacks is None


class TestLimits:
    def limit(self, queue: Queue, name: str | None, limit: Limit) -> None:
        with transaction(queue.engine) as session:
            administration.set_limit(session, name and queue.person(name), limit)

    def test_no_more_at_once_than_is_allowed(self, queue: Queue) -> None:
        self.limit(queue, None, Limit(runs_at_once=2))
        self.limit(queue, "bob", Limit())
        queue.ask("ann", 4)
        queue.ask("bob", 4)
        begun: list[HeldRun] = []
        while (held := queue.claim()) is not None:
            begun.append(held)
        names = [queue.whose(held.id) for held in begun]
        assert sorted(names) == ["ann", "ann", "bob", "bob", "bob", "bob"]
        queue.finish(next(held for held in begun if queue.whose(held.id) == "ann"))
        assert queue.work() == "ann"

    def test_the_limit_holds_when_all_ask_at_once(self, queue: Queue) -> None:
        self.limit(queue, None, Limit(runs_at_once=3))
        queue.ask("ann", 10)
        queue.ask("bob", 10)
        with ThreadPoolExecutor(20) as pool:
            held = [one for one in pool.map(lambda _: queue.claim(), range(20)) if one]
        names = [queue.whose(one.id) for one in held]
        assert len({one.id for one in held}) == len(held)
        assert names.count("ann") <= 3
        assert names.count("bob") <= 3
        # Whoever was in another's way asks again by the next hint.
        while (one := queue.claim()) is not None:
            names.append(queue.whose(one.id))
        assert sorted(names) == ["ann"] * 3 + ["bob"] * 3

    def test_hours_of_a_week_are_kept_and_come_back(self, queue: Queue) -> None:
        self.limit(queue, "ann", Limit(device_hours_a_week=2))
        queue.ask("ann", 3)
        queue.ask("bob")
        assert queue.work(took=3600.0) == "ann"
        assert queue.work() == "bob"
        assert queue.work(took=5400.0) == "ann"
        assert queue.work() is None
        a_worker_is_there(queue.engine)
        with transaction(queue.engine) as session:
            (waiting,) = queue.order()
            place = places_in_queue(session, [waiting])[waiting]
        assert place.hold is not None
        assert place.hold.reason == "device_hours"
        # Half an hour too much was used, and what was used first began one and a half hours ago.
        assert place.hold_seconds == pytest.approx(WEEK_SECONDS - 1.5 * 3600 + 1800, abs=60)
        assert place.seconds_until_start == pytest.approx(place.hold_seconds, abs=1)
        with transaction(queue.engine) as session:
            assert not is_any_for(session, ONE_CPU.each()), "nobody may begin it for days"
        with transaction(queue.engine) as session:
            for use in session.query(DeviceUse):
                use.began_at -= WEEK_SECONDS
                if use.ended_at is not None:
                    use.ended_at -= WEEK_SECONDS
        assert queue.work() == "ann"

    def test_hours_count_though_the_project_is_deleted(self, queue: Queue) -> None:
        self.limit(queue, "ann", Limit(device_hours_a_week=1))
        queue.ask("ann", 1)
        assert queue.work(took=4000.0) == "ann"
        with transaction(queue.engine) as session:
            for run in session.query(Run):
                session.delete(run)
        with transaction(queue.engine) as session:
            assert queue.person("ann") in people_now(session).holds

    def test_a_limit_that_is_dropped_holds_nothing(self, queue: Queue) -> None:
        self.limit(queue, "ann", Limit(runs_at_once=1))
        queue.ask("ann", 2)
        assert queue.claim() is not None
        assert queue.claim() is None
        with transaction(queue.engine) as session:
            administration.drop_limit(session, queue.person("ann"))
        assert queue.claim() is not None

    @pytest.mark.parametrize("typed", ["0", "-1", "nan", "x", "1.5", "1e9"])
    def test_what_is_no_limit_is_refused(self, typed: str) -> None:
        with pytest.raises(UnusableLimitError):
            administration.read_limit(typed, "")

    def test_what_is_typed_is_understood(self) -> None:
        assert administration.read_limit(" 2 ", "1,000.5") == Limit(2, 1000.5)
        assert administration.read_limit("", "") == Limit()


class TestReordering:
    def test_an_administrator_puts_runs_where_they_belong(self, queue: Queue) -> None:
        a, b, c, d = queue.ask("ann", 4)

        def order_after(act: Any, run_id: str) -> Sequence[str]:  # noqa: ANN401
            with transaction(queue.engine) as session:
                act(session, run_id)
            return queue.order()

        assert order_after(administration.put_first, c) == [c, a, b, d]
        assert order_after(administration.put_later, c) == [a, c, b, d]
        assert order_after(administration.put_last, a) == [c, b, d, a]
        assert order_after(administration.put_last, a) == [c, b, d, a]
        assert order_after(administration.put_later, a) == [c, b, d, a]
        assert order_after(administration.put_first, c) == [c, b, d, a]
        claimed = queue.claim()
        assert claimed is not None
        assert claimed.id == c
        with pytest.raises(NotWaitingError), transaction(queue.engine) as session:
            administration.put_first(session, c)
        with transaction(queue.engine) as session:
            deeds = [event.action for event in newest_events(session)]
        assert deeds[:2] == ["run_put_first", "run_put_later"]

    def test_equal_turns_are_told_apart(self, queue: Queue) -> None:
        ids = queue.ask("ann", 4)
        with transaction(queue.engine) as session:
            for run_id in ids:
                repository.set_turn(session, run_id, 0.0)
        a, b, c, d = queue.order()
        with transaction(queue.engine) as session:
            administration.put_later(session, a)
        assert queue.order() == [b, a, c, d]
        with transaction(queue.engine) as session:
            administration.put_later(session, a)
        assert queue.order() == [b, c, a, d]


def test_a_base_model_in_few_bits_needs_a_device_that_can_hold_it_so() -> None:
    recipe = RECIPE_OF_NOTHING
    assert needs_of(recipe) == Needs()
    in_few_bits = recipe.model_copy(update={"quantization": Quantization.FOUR_BIT})
    assert needs_of(in_few_bits) == Needs(bits=Quantization.FOUR_BIT)


def test_fifty_workers_begin_fifty_runs_once_each(queue: Queue) -> None:
    asked = [
        run_id for name in ("ann", "bob", "cid", "dee", "eve") for run_id in queue.ask(name, 10)
    ]
    (cpu,) = ONE_CPU.each()
    with ThreadPoolExecutor(50) as pool:
        held = [one for one in pool.map(lambda _: queue.claim(cpu), range(50)) if one]
    while (one := queue.claim(cpu)) is not None:
        held.append(one)
    assert sorted(one.id for one in held) == sorted(asked)
    assert {one.fence for one in held} == {1}
