"""Take waiting runs in their turn, one at a time on each device, until none is left."""

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial

from sqlalchemy import Engine

from app.database.session import DATABASE_AWAY, transaction
from app.leases.repository import LostLeaseError
from app.runs.holding import HeldRun, beat, claim_next_run, note_devices, requeue
from app.runs.progress.repository import is_held
from app.runs.queue.needs import ANYTHING, Needs, Serves
from app.settings import Settings
from app.storage.folders import Storage
from app.workers.device import OneDevice
from worker.child import TRAINING_MODULE, kill_stale_child
from worker.device_lock import DeviceLock, take_device
from worker.device_trials import end_trial
from worker.devices import describe
from worker.making_room import make_room
from worker.spare import SpareKeeper
from worker.supervisor import RunSupervisor

logger = logging.getLogger(__name__)


def execute_waiting_runs(
    engine: Engine,
    storage: Storage,
    settings: Settings,
    stop_requested: Callable[[], bool],
    child_module: str = TRAINING_MODULE,
    spares: SpareKeeper | None = None,
) -> None:
    """Train what waits. Which run a hint named does not matter: the queue's order does.

    Where a machine has several devices, as many processes do this at once, and each takes whatever
    device is free; none belongs to one of them.

    Args:
        engine: the database.
        storage: where runs lie.
        settings: where the chat server is, which may have to make room.
        stop_requested: whether this worker is to end.
        child_module: the program that trains, which tests replace.
        spares: training processes that are ready, if this worker keeps any.
    """
    execute_on = partial(
        _execute_on, engine, storage, settings, stop_requested, child_module, spares
    )
    try:
        while not stop_requested():
            if not _execute_next(engine, storage, execute_on):
                return
    finally:
        if spares is not None:
            spares.go_on()


def _execute_next(
    engine: Engine, storage: Storage, execute_on: Callable[[DeviceLock], bool]
) -> bool:
    """Train one run; False if nothing waits that a free device can train."""
    in_vain: set[Serves] = set()
    while (first := _take_device(engine, storage, in_vain)) is not None:
        if execute_on(first):
            return True
        in_vain.add(Serves.by(first.device))
    return False


def _execute_on(
    engine: Engine,
    storage: Storage,
    settings: Settings,
    stop_requested: Callable[[], bool],
    child_module: str,
    spares: SpareKeeper | None,
    first: DeviceLock,
) -> bool:
    """Train the run whose turn it is on a device; False, and the device is free, if none waits."""
    taken = [first]
    try:
        held = _claim(engine, storage, first.device)
        if held is not None:
            wanted = held.recipe.devices - 1
            taken += _take_further(engine, storage, first.device, wanted, held.needs)
        is_ours = held is not None and _begin(engine, storage, settings, held, taken)
    except BaseException:
        # A lock that this process forgot would keep all others from training.
        _let_go(taken)
        raise
    if held is None or not is_ours:
        _let_go(taken)
        return held is not None
    end_trial(storage)
    logger.info("Run %s begins under fence %d.", held.id, held.fence)
    RunSupervisor(engine, storage, held, stop_requested, child_module, spares).run(taken)
    return True


def _let_go(taken: Sequence[DeviceLock]) -> None:
    for lock in taken:
        lock.let_go()


def _claim(engine: Engine, storage: Storage, device: OneDevice) -> HeldRun | None:
    def count_free() -> int:
        return 1 + _free_beside(engine, storage, device)

    try:
        with transaction(engine) as session:
            return claim_next_run(session, device, count_free)
    except DATABASE_AWAY as error:
        # The sweeper sends another hint once the database is back.
        logger.warning("The database does not answer: %s", error)
        return None


def _begin(
    engine: Engine,
    storage: Storage,
    settings: Settings,
    held: HeldRun,
    taken: Sequence[DeviceLock],
) -> bool:
    """See to it that there is memory for a run; False if it is not to begin now."""
    if held.recipe.divides_model and len(taken) < held.recipe.devices:
        _give_back(engine, held)
        return False
    devices = [lock.device for lock in taken]
    for device in devices:
        make_room(settings, storage, held.recipe, device)
        # Waiting for room may have taken the better part of the lease.
        if not _hold_on(engine, held, devices if device == devices[-1] else ()):
            return False
    return True


def _give_back(engine: Engine, held: HeldRun) -> None:
    """Let a run wait on: another one took a device that it must have, a moment ago."""
    try:
        with transaction(engine) as session:
            requeue(session, held, "It waits until enough devices are free at once.")
    except (LostLeaseError, *DATABASE_AWAY) as error:
        # Where the database is away, the lease runs out by itself.
        logger.info("Run %s could not be given back: %s", held.id, error)


def _hold_on(engine: Engine, held: HeldRun, devices: Sequence[OneDevice]) -> bool:
    """Renew the lease, and note several devices; False if someone stopped the run meanwhile."""
    try:
        with transaction(engine) as session:
            beat(session, held)
            if len(devices) > 1:
                note_devices(session, held, devices)
    except LostLeaseError:
        logger.info("Run %s was stopped before its training began.", held.id)
        return False
    except DATABASE_AWAY as error:
        # The supervisor goes on trying.
        logger.warning("The database does not answer: %s", error)
    return True


def _take_device(
    engine: Engine, storage: Storage, in_vain: Collection[Serves]
) -> DeviceLock | None:
    """Take the first device of this machine that is free; None if all are in use.

    Args:
        engine: the database.
        storage: where the locks are.
        in_vain: for devices that serve as these do nothing waits.
    """
    for device in describe(storage).each():
        if Serves.by(device) in in_vain:
            continue
        lock = _take(engine, storage, device)
        if lock is not None:
            return lock
    return None


def _free_beside(engine: Engine, storage: Storage, first: OneDevice) -> int:
    """Count the other devices of this machine that are free at this moment."""
    beside = _take_further(engine, storage, first, first.host_devices - 1)
    _let_go(beside)
    return len(beside)


def _take_further(
    engine: Engine, storage: Storage, first: OneDevice, wanted: int, needs: Needs = ANYTHING
) -> list[DeviceLock]:
    """Take up to so many other devices of this machine, as many as are free at this moment.

    Nobody waits for one while it holds another, so runs never wait for each other in a ring. One on
    which the run does not fit is left to others: it would bring all that learn with it to a halt.
    """
    taken: list[DeviceLock] = []
    for device in describe(storage).each():
        suits = device != first and Serves.by(device).can_train(needs)
        if len(taken) < wanted and suits:
            lock = _take(engine, storage, device)
            taken += [lock] if lock is not None else []
    return taken


def _take(engine: Engine, storage: Storage, device: OneDevice) -> DeviceLock | None:
    """Take a device, from a process whose run was given to someone else if need be."""
    taken = take_device(storage, device)
    if taken is None or isinstance(taken, DeviceLock):
        return taken
    try:
        with transaction(engine, read_only=True) as session:
            still_held = is_held(session, taken.run_id, taken.fence)
    except DATABASE_AWAY:
        return None
    if still_held:
        return None
    logger.warning("The process of run %s outlived its claim and is ended.", taken.run_id)
    kill_stale_child(taken.pid, taken.started)
    taken = take_device(storage, device, wait=True)
    return taken if isinstance(taken, DeviceLock) else None
