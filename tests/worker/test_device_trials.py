"""A machine is measured once, when nothing waits, and the planner counts with it."""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sqlalchemy import Engine

from app.database.session import transaction
from app.runs.device_constants import MEASURED_KEY, TRIAL_VERSION, DeviceConstants
from app.runs.methods import Quantization
from app.runs.repository import lock
from app.storage.folders import Storage
from app.workers.device import FEW_BITS_KEY, NOT_TRIED_YET, DeviceKind
from tests.support.runs import queue_run
from tests.support.waiting import wait_until
from worker import device_trials, devices
from worker.device_trial import few_bits
from worker.device_trial.main import note_few_bits
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
    assert not is_current(storage), "in how few bits a model can be held is not known"
    tried = {
        "version": few_bits.VERSION,
        "libraries": describe(storage).libraries,
        "obstacles": {"4bit": "", "8bit": "It does not run."},
    }

    def note(constants: DeviceConstants, tried: dict[str, Any]) -> None:
        measured = {MEASURED_KEY: constants.model_dump(mode="json"), FEW_BITS_KEY: tried}
        file.write_text(json.dumps(measured))

    note(constants, tried)
    assert is_current(storage)
    facts = describe(storage)
    assert (facts.obstacle_to("4bit"), facts.obstacle_to("8bit")) == ("", "It does not run.")
    assert facts.each()[0].few_bits == ("4bit",)
    note(constants, tried | {"libraries": {"torch": "1.0"}})
    assert not is_current(storage)
    assert describe(storage).each()[0].few_bits == (), "it was tried with another library"
    assert describe(storage).obstacle_to("4bit") == NOT_TRIED_YET
    used = DeviceConstants.of(describe(storage))
    assert (used.process_bytes, used.is_measured) == (123e6, True)
    older = constants.model_copy(update={"libraries": {"torch": "1.0"}})
    note(older, tried)
    assert not is_current(storage)
    file.write_text(json.dumps({MEASURED_KEY: {"version": TRIAL_VERSION}, FEW_BITS_KEY: tried}))
    assert not is_current(storage)


@pytest.mark.one_database
def test_a_library_that_goes_while_the_worker_lives_takes_its_forms_along(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = describe(storage).libraries
    assert "bitsandbytes" in there
    tried = {"version": few_bits.VERSION, "libraries": there, "obstacles": {"4bit": ""}}
    measurements_file(storage).write_text(json.dumps({FEW_BITS_KEY: tried}))
    assert describe(storage).each()[0].few_bits == ("4bit",)
    monkeypatch.setattr(devices, "version", there.get)
    there.pop("bitsandbytes")
    assert "bitsandbytes" not in describe(storage).libraries
    assert describe(storage).each()[0].few_bits == ()


@pytest.mark.one_database
def test_a_machine_with_a_card_is_not_given_the_speed_of_its_processor(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = describe(storage).model_copy(update={"kind": DeviceKind.CUDA})
    assert not is_current(storage)
    tried = {"version": few_bits.VERSION, "libraries": card.libraries, "obstacles": {}}
    noted = card.model_copy(update={"measured": {FEW_BITS_KEY: tried}})
    monkeypatch.setattr(device_trials, "describe", lambda _: noted)
    assert is_current(storage)


@pytest.mark.parametrize("form", few_bits.FORMS)
def test_few_bits_are_tried_with_a_layer_of_their_own(form: Quantization, tmp_path: Path) -> None:
    assert few_bits.obstacle(form, tmp_path) == ""


def test_a_layer_that_calculates_wrongly_is_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def negated(layer: torch.nn.Linear, *_: object) -> torch.nn.Linear:
        other = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        other.load_state_dict({"weight": -layer.weight.detach()})
        return other

    monkeypatch.setattr("worker.training.few_bits.held_layer", negated)
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: torch.float32)
    assert "is off by 200%" in few_bits.obstacle(Quantization.FOUR_BIT, tmp_path)


def test_a_machine_without_the_library_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "is not installed" in few_bits.obstacle(Quantization.FOUR_BIT, tmp_path)


def test_trying_that_ends_its_process_is_an_obstacle_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_bits, "_MODULE", "tests.support.no_such_program")
    tried = few_bits.facts(tmp_path)
    assert tried is not None
    obstacles = tried["obstacles"]
    assert set(obstacles) == {"4bit", "8bit"}
    assert all(
        "does not work on this machine: it ended with 1" in why for why in obstacles.values()
    )


@pytest.mark.one_database
@pytest.mark.parametrize("ending", ["exec /bin/sleep 60", "kill -KILL $$"])
def test_trying_that_is_ended_from_outside_says_nothing_of_the_machine(
    ending: str, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{ending}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(few_bits, "_MOST_SECONDS", 0.2 if "sleep" in ending else 60.0)
    note_few_bits(measurements_file(storage))
    assert describe(storage).obstacle_to("4bit") == NOT_TRIED_YET
    assert not is_current(storage)


@pytest.mark.one_database
def test_a_trial_that_came_to_nothing_is_tried_again_ever_more_seldom(
    engine: Engine, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    begun: list[float] = []

    def begin(*_: object, **__: object) -> SimpleNamespace:
        begun.append(clock.now)
        return SimpleNamespace(pid=0, poll=lambda: 0)

    monkeypatch.setattr(device_trials, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(device_trials, "subprocess", SimpleNamespace(Popen=begin, DEVNULL=-3))
    monkeypatch.setattr(device_trials, "end_group", lambda _: None)
    trials = DeviceTrials(storage, not_before=0.0)
    for clock.now in range(0, 24_000, 600):
        with transaction(engine, read_only=True) as session:
            trials.look(session)
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (1200, 4200)


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
def test_only_a_run_that_this_machine_could_begin_keeps_it_from_being_measured(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    run_id = queue_run(engine, storage, project_id)
    trials = DeviceTrials(storage, not_before=0.0)
    with transaction(engine, read_only=True) as session:
        trials.look(session)
    assert running_trial(storage) is None
    with transaction(engine) as session:
        run = lock(session, run_id)
        assert run is not None
        run.needs_bits = Quantization.FOUR_BIT
    with transaction(engine, read_only=True) as session:
        trials.look(session)
    wait_until(lambda: running_trial(storage) is not None, timeout=20, what="the trial to begin")
    end_trial(storage)


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
    assert describe(storage).each()[0].few_bits == ("4bit", "8bit")
