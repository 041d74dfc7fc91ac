"""Faults of real processes: whatever is killed, a run ends once, with the weights it should have.

The workers are real Celery processes on both brokers. The training process is scripted, so that
its result is known; test_real_training.py does the same with the real one, less often.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine

from app import jobs
from app.adapters.tables import Adapter
from app.database.session import transaction
from app.runs import steering
from app.runs.status import RunStatus
from app.workers.repository import is_anyone_there
from tests.support.deployments import EMBEDDED, SERVICES, Deployment, deployed
from tests.support.runs import attempts, get_run, project_with_examples, queue_run
from tests.support.services import free_port
from tests.support.waiting import wait_until
from tests.support.workers import (
    CLOCK_AHEAD_SECONDS,
    VISIBILITY_SECONDS,
    CeleryWorker,
    PrivateRedis,
    is_running,
    put_to_sleep,
    wait_until_gone,
)
from worker.devices import visible_devices

_QUEUE = jobs.runs_queue(visible_devices()[0])
_STEPS = {"steps": 40, "step_seconds": 0.05, "checkpoint_every": 5}
_SECONDS = 90

# What takes a quarter of a minute is tried on one broker where time is short.
ON_BOTH_IF_THERE_IS_TIME = pytest.mark.parametrize(
    "tailor", [EMBEDDED, pytest.param(SERVICES, marks=pytest.mark.slow)], indirect=True
)


@dataclass
class Tailor:
    """A deployment whose training processes do as a script tells them."""

    deployment: Deployment
    project_id: str
    expected: bytes

    @property
    def engine(self) -> Engine:
        return self.deployment.engine

    @property
    def environment(self) -> dict[str, str]:
        return self.deployment.environment

    def worker(self, **environment: str) -> CeleryWorker:
        return self.deployment.worker(**environment)

    def logs(self) -> str:
        return self.deployment.logs()

    def queue(self, **script: object) -> str:
        storage = self.deployment.storage
        return queue_run(self.engine, storage, self.project_id, {**_STEPS, **script})

    def status(self, run_id: str) -> RunStatus:
        return RunStatus(get_run(self.engine, run_id).status)

    def pids(self, run_id: str) -> list[int]:
        return [pid for _, pid in attempts(self.deployment.storage, run_id)]

    def wait_for_step(self, run_id: str, step: int = 1) -> None:
        wait_until(
            lambda: (
                get_run(self.engine, run_id).step >= step
                and self.status(run_id) == RunStatus.TRAINING
            ),
            timeout=_SECONDS,
            what=lambda: f"step {step}; {self.logs()}",
        )

    def check_success(self, run_id: str) -> None:
        """Wait for the run's end, and look whether it ended once and as it should."""
        wait_until(
            lambda: get_run(self.engine, run_id).finished_at,
            timeout=_SECONDS,
            what=lambda: f"the run's end; {self.logs()}",
        )
        run = get_run(self.engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, (run.failure, self.logs())
        folder = self.deployment.storage.path("runs", run_id, "adapter")
        assert (folder / "adapter_model.safetensors").read_bytes() == self.expected
        with transaction(self.engine, read_only=True) as session:
            adapter = session.get(Adapter, run_id)
        assert adapter is not None
        assert run.result is not None
        assert adapter.sha256 == run.result["adapter_sha256"]


def _weights_of_an_unbroken_run() -> bytes:
    state = hashlib.sha256(b"base model").hexdigest()
    for step in range(1, int(_STEPS["steps"]) + 1):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return (state * 100).encode()


@pytest.fixture(params=[EMBEDDED, SERVICES])
def tailor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tailor]:
    """SQLite with the queue in a folder, and PostgreSQL with Redis."""
    module = "tests.support.scripted_worker"
    with deployed(request.param, tmp_path, monkeypatch, module) as deployment:
        with transaction(deployment.engine) as session:
            project_id = project_with_examples(session, deployment.storage).id
        yield Tailor(deployment, project_id, _weights_of_an_unbroken_run())


def test_a_run_from_a_message_to_a_version(tailor: Tailor) -> None:
    tailor.worker()
    run_id = tailor.queue()
    tailor.check_success(run_id)
    assert len(tailor.pids(run_id)) == 1


@ON_BOTH_IF_THERE_IS_TIME
@pytest.mark.parametrize(
    "victim",
    [
        *("training process", "all"),
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("pool process", "main process")),
    ],
)
def test_kill(tailor: Tailor, victim: str) -> None:
    worker = tailor.worker()
    run_id = tailor.queue(step_seconds=0.15)
    tailor.wait_for_step(run_id, random.randint(1, 10))  # noqa: S311 (no cryptography)
    (training,) = tailor.pids(run_id)
    pool = worker.pool_pids()
    assert pool
    if victim == "training process":
        os.kill(training, signal.SIGKILL)
    elif victim == "pool process":
        os.kill(pool[0], signal.SIGKILL)
        wait_until_gone([training], 5)
    elif victim == "main process":
        worker.kill_main()
        wait_until_gone([training, *pool], 5)
        tailor.worker()
    else:
        worker.kill_everything([training])
        wait_until_gone([training, *pool], 5)
        tailor.worker()
    tailor.check_success(run_id)
    assert len(tailor.pids(run_id)) == 2


@ON_BOTH_IF_THERE_IS_TIME
def test_a_worker_that_is_told_to_stop_saves_and_gives_back(tailor: Tailor) -> None:
    worker = tailor.worker()
    run_id = tailor.queue(step_seconds=0.2)
    tailor.wait_for_step(run_id, 3)
    began = time.monotonic()
    worker.terminate()
    worker.wait()
    assert time.monotonic() - began < 30
    run = get_run(tailor.engine, run_id)
    assert (run.status, run.attempts) == (RunStatus.QUEUED, 0)
    assert not any(is_running(pid) for pid in tailor.pids(run_id))
    tailor.worker()
    tailor.check_success(run_id)


@ON_BOTH_IF_THERE_IS_TIME
def test_a_worker_that_slept_past_its_lease_changes_nothing(tailor: Tailor) -> None:
    sleeper = tailor.worker()
    run_id = tailor.queue(step_seconds=0.3)
    tailor.wait_for_step(run_id)
    (stale,) = tailor.pids(run_id)
    stopped = [sleeper.pid, *sleeper.pool_pids()]
    put_to_sleep(stopped, tailor.engine)
    tailor.worker()
    # The other takes over while the first sleeps; its training process, awake, is ended.
    wait_until(lambda: len(tailor.pids(run_id)) == 2, timeout=_SECONDS, what="the other worker")
    assert not is_running(stale)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    tailor.check_success(run_id)
    assert len(tailor.pids(run_id)) == 2
    assert sleeper.is_alive


def test_a_message_five_times_is_one_run(tailor: Tailor) -> None:
    run_id = tailor.queue()
    for _ in range(5):
        jobs.send_now(jobs.Hint(jobs.EXECUTE_RUN, run_id, _QUEUE))
    for _ in range(2):
        tailor.worker()
    tailor.check_success(run_id)
    assert len(tailor.pids(run_id)) == 1


def test_a_queue_that_was_emptied_loses_no_run(tailor: Tailor) -> None:
    run_id = tailor.queue()
    celery = jobs.celery_app()
    with celery.connection_for_write() as connection:
        connection.default_channel.queue_purge(_QUEUE)
    tailor.worker()
    tailor.check_success(run_id)


def test_garbage_in_the_queue_does_not_stop_the_worker(tailor: Tailor) -> None:
    worker = tailor.worker()
    if "TAILOR_BROKER_URL" in tailor.environment:
        client = Redis.from_url(tailor.environment["TAILOR_BROKER_URL"])
        for garbage in (
            b'{"body": "half',
            b"\x80\x04pickle",
            b"[]",
            b'{"body": "", "headers": {}}',
        ):
            client.lpush(_QUEUE, garbage)
    else:
        folder = Path(tailor.environment["TAILOR_DATA_DIR"]) / "queue" / "waiting" / _QUEUE
        wait_until(folder.exists, timeout=30, what="the queue's folder")
        (folder / "0.json").write_bytes(b'{"body": "half')
        (folder / "1.json").write_bytes(b"\x80\x04pickle")
    run_id = tailor.queue()
    tailor.check_success(run_id)
    assert worker.is_alive


def test_a_poison_run_does_not_stop_the_others(tailor: Tailor) -> None:
    worker = tailor.worker()
    poison = tailor.queue(crash_signal=int(signal.SIGSEGV))
    healthy = tailor.queue()
    tailor.check_success(healthy)
    assert tailor.status(poison) == RunStatus.FAILED
    assert len(tailor.pids(poison)) == 3
    assert worker.is_alive


@pytest.mark.slow
def test_a_worker_is_known_to_be_there(tailor: Tailor) -> None:
    def is_there() -> bool:
        with transaction(tailor.engine, read_only=True) as session:
            return is_anyone_there(session, jobs.RUNS_QUEUE)

    assert not is_there()
    worker = tailor.worker()
    wait_until(is_there, timeout=_SECONDS, what=lambda: f"a worker; {tailor.logs()}")
    worker.kill_main()
    # The test's own process judges by the usual lease.
    wait_until(lambda: not is_there(), timeout=_SECONDS, what="the worker to be missed")


def test_cancel_while_the_worker_sleeps(tailor: Tailor) -> None:
    worker = tailor.worker()
    run_id = tailor.queue(step_seconds=0.3)
    tailor.wait_for_step(run_id)
    stopped = [worker.pid, *worker.pool_pids()]
    put_to_sleep(stopped, tailor.engine)
    with transaction(tailor.engine) as session:
        steering.cancel_run(session, get_run(tailor.engine, run_id))
    assert tailor.status(run_id) == RunStatus.CANCELLED
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    wait_until_gone(tailor.pids(run_id), 10)
    assert tailor.status(run_id) == RunStatus.CANCELLED


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_random_kills(tailor: Tailor) -> None:
    """Kill something at a random moment of each training, and start again what is gone."""
    chance = random.Random(7)  # noqa: S311 (faults need no cryptography)
    runs = [tailor.queue(step_seconds=0.1) for _ in range(4)]
    worker = tailor.worker()
    for _ in range(12):
        training = wait_until(
            lambda: (
                [pid for run_id in runs for pid in tailor.pids(run_id) if is_running(pid)]
                or all(get_run(tailor.engine, run_id).finished_at for run_id in runs)
            ),
            timeout=_SECONDS,
            what=lambda: f"a training process; {tailor.logs()}",
        )
        if training is True:
            break
        time.sleep(chance.uniform(0.0, 3.0))
        targets = [*(training or []), *worker.pool_pids(), worker.pid]
        victim = chance.choice(targets)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        # A killed process lives on for a moment, its threads longer than its name in the list of
        # processes; and a worker that seems alive is not replaced.
        if victim == worker.pid:
            worker.wait()
        else:
            wait_until_gone([victim], 10)
        if not worker.is_alive or chance.random() < 0.2:
            worker.stop()
            worker = tailor.worker()
    wait_until(
        lambda: all(get_run(tailor.engine, run_id).finished_at for run_id in runs),
        timeout=300,
        what="the end of all runs",
    )
    done = [run_id for run_id in runs if tailor.status(run_id) == RunStatus.SUCCEEDED]
    for run_id in done:
        tailor.check_success(run_id)
    # Killed three times before anything new was saved is an end, and says so.
    for run_id in set(runs) - set(done):
        failure = get_run(tailor.engine, run_id).failure
        assert failure is not None
        assert "3 times in a row" in failure["reason"]
    assert done


@pytest.mark.slow
def test_a_broker_that_restarts_disturbs_nobody(tailor: Tailor) -> None:
    """The running training goes on, and new ones start soon after the broker is back."""
    if "TAILOR_BROKER_URL" not in tailor.environment:
        # The folder's way to be away: it is gone, and comes back empty.
        queue = Path(tailor.environment["TAILOR_DATA_DIR"]) / "queue"
        worker, first, second = _run_through_outage(
            tailor, take_away=lambda: shutil.rmtree(queue), bring_back=lambda: None
        )
    else:
        port = free_port()
        redis = PrivateRedis(port)
        url = f"redis://127.0.0.1:{port}/0"
        tailor.environment["TAILOR_BROKER_URL"] = url
        try:
            worker, first, second = _run_through_outage(
                tailor, take_away=redis.kill, bring_back=redis.start
            )
        finally:
            redis.kill()
    for run_id in (first, second):
        tailor.check_success(run_id)
        assert len(tailor.pids(run_id)) == 1
    assert worker.is_alive


def _run_through_outage(
    tailor: Tailor, take_away: Callable[[], None], bring_back: Callable[[], None]
) -> tuple[CeleryWorker, str, str]:
    worker = tailor.worker()
    first = tailor.queue(step_seconds=0.2)
    tailor.wait_for_step(first, 2)
    take_away()
    tailor.check_success(first)
    second = tailor.queue()
    bring_back()
    began = time.monotonic()
    wait_until(
        lambda: get_run(tailor.engine, second).started_at,
        timeout=60,
        what=lambda: f"the second run; {tailor.logs()}",
    )
    assert time.monotonic() - began < 35
    return worker, first, second


@pytest.mark.slow
def test_a_run_that_outlasts_the_brokers_patience_is_trained_once(tailor: Tailor) -> None:
    """A message is acknowledged when it is taken, so no broker takes a long training for lost."""
    worker = tailor.worker(**{VISIBILITY_SECONDS: "2"})
    first, second = tailor.queue(step_seconds=0.25), tailor.queue()
    for run_id in (first, second):
        tailor.check_success(run_id)
        assert len(tailor.pids(run_id)) == 1
    assert worker.is_alive


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
def test_a_worker_whose_clock_is_wrong_takes_nothing_from_the_others(
    tailor: Tailor, hours: int
) -> None:
    tailor.worker()
    run_id = tailor.queue(step_seconds=0.25)
    tailor.wait_for_step(run_id)
    other = tailor.worker(**{CLOCK_AHEAD_SECONDS: str(hours * 3600)})
    tailor.check_success(run_id)
    assert len(tailor.pids(run_id)) == 1
    assert other.is_alive
    # And what it trains itself it holds as well as anyone.
    tailor.deployment.first_worker.kill_main()
    second = tailor.queue(step_seconds=0.25)
    tailor.check_success(second)
    assert len(tailor.pids(second)) == 1


@pytest.mark.slow
def test_a_copy_of_everything_goes_on_where_it_was_made(tmp_path: Path, tailor: Tailor) -> None:
    """What a backup of the folder and the database holds: trainings go on from their last save."""
    worker = tailor.worker()
    finished = tailor.queue()
    tailor.check_success(finished)
    run_id = tailor.queue(step_seconds=0.15)
    tailor.wait_for_step(run_id, 12)
    worker.kill_everything(tailor.pids(run_id))
    with tailor.deployment.restored(tmp_path / "elsewhere") as restored:
        copy = Tailor(restored, tailor.project_id, tailor.expected)
        copy.worker()
        for one in (finished, run_id):
            copy.check_success(one)
        plan = get_run(copy.engine, run_id).plan
        assert plan is not None
        assert plan["resumed_from_step"] >= 10
