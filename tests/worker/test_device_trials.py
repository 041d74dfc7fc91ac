"""A machine is measured once, when nothing waits, and the planner counts with it."""

import json
import time

import pytest
from sqlalchemy import Engine

from app.database.session import transaction
from app.runs.device_constants import MEASURED_KEY, TRIAL_VERSION, DeviceConstants
from app.storage.folders import Storage
from tests.support.waiting import wait_until
from worker import device_trials
from worker.device_trial.speed import solve
from worker.device_trials import DeviceTrials, end_trial, is_current, running_trial
from worker.devices import describe, measurements_file


def test_prices_are_found_and_never_negative() -> None:
    rows = [[1.0, 0.0, 0.5], [1.0, 1.0, 0.1], [1.0, 2.0, 0.9], [1.0, 5.0, 0.2]]
    assert solve(rows, [1.0, 3.0, 5.0, 11.0]) == pytest.approx([1.0, 2.0, 0.0], abs=1e-9)
    assert min(solve(rows, [3.0, 2.0, 1.0, 0.5])) >= 0.0


@pytest.mark.one_database
def test_a_measurement_counts_until_a_library_changes(storage: Storage) -> None:
    assert not is_current(storage)
    constants = DeviceConstants.of(None).model_copy(
        update={"libraries": describe(storage).libraries, "process_bytes": 123e6}
    )
    file = measurements_file(storage)
    file.write_text(json.dumps({MEASURED_KEY: constants.model_dump(mode="json")}))
    assert is_current(storage)
    used = DeviceConstants.of(describe(storage))
    assert (used.process_bytes, used.is_measured) == (123e6, True)
    older = constants.model_copy(update={"libraries": {"torch": "1.0"}})
    file.write_text(json.dumps({MEASURED_KEY: older.model_dump(mode="json")}))
    assert not is_current(storage)
    file.write_text(json.dumps({MEASURED_KEY: {"version": TRIAL_VERSION}}))
    assert not is_current(storage)


@pytest.mark.one_database
def test_a_run_that_begins_ends_the_trial(engine: Engine, storage: Storage) -> None:
    trials = DeviceTrials(storage, not_before=0.0)
    with transaction(engine, read_only=True) as session:
        trials.look(session)
    wait_until(lambda: running_trial(storage) is not None, timeout=20, what="the trial to begin")
    started = time.monotonic()
    end_trial(storage)
    wait_until(lambda: running_trial(storage) is None, timeout=20, what="the trial to end")
    assert time.monotonic() - started < 5
    with transaction(engine, read_only=True) as session:
        trials.look(session)
        trials.look(session)
    assert running_trial(storage) is None, "another one is tried later, not at once"


@pytest.mark.one_database
def test_nothing_is_measured_twice(
    engine: Engine, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_trials, "is_current", lambda _: True)
    with transaction(engine, read_only=True) as session:
        DeviceTrials(storage, not_before=0.0).look(session)
    assert running_trial(storage) is None


@pytest.mark.slow
@pytest.mark.one_database
def test_the_real_trial_measures(engine: Engine, storage: Storage) -> None:
    trials = DeviceTrials(storage, not_before=0.0)
    with transaction(engine, read_only=True) as session:
        trials.look(session)
    wait_until(lambda: is_current(storage), timeout=200, what="the trial's answer")
    measured = DeviceConstants.of(describe(storage))
    assert measured.is_measured
    assert measured.process_bytes > 10**8
