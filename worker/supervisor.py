"""Watch over one training process: hear it, write down what it says, end it when it must end.

The database is the truth. This process holds a run by heartbeats under a fence; when it finds that
the fence was raised (someone cancelled the run, or took it for lost), it ends the training process
and leaves without writing a word.
"""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.adapters.service import publish
from app.database.session import DATABASE_AWAY, transaction
from app.leases.repository import LostLeaseError
from app.leases.tables import HEARTBEAT_SECONDS
from app.runs import holding
from app.runs.child_events import AnyChildEvent, FailureEvent, ResultEvent, StoppedEvent
from app.runs.holding import HeldRun
from app.runs.methods import Quantization
from app.runs.progress.batch import Intake
from app.runs.progress.repository import Wishes
from app.runs.repository import status_of
from app.runs.status import IllegalMoveError, RunStatus
from app.runs.tidying import remove_what_is_no_longer_needed
from app.storage.folders import Storage
from worker.child import TRAINING_MODULE, TrainingChild, describe_exit, process_start
from worker.device_lock import DeviceLock, LockHolder
from worker.devices import environment_for
from worker.few_bits import bits_of, note_what_is_allowed
from worker.kernel_kills import KernelKills
from worker.memory_notes import MemoryNotes
from worker.promotion import (
    DamagedAdapterError,
    check_adapter,
    promote,
)
from worker.spare import SpareKeeper
from worker.training.failures import describe
from worker.training.orders import Order

logger = logging.getLogger(__name__)

_LISTEN_SECONDS: Final = 0.2
_WRITE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 1.0
_SAVE_SECONDS: Final = 15.0
"""How long a training process may take to save when its worker stops."""
_PAUSE_SECONDS: Final = 60.0
"""How long it may take where only people wait for it."""
_LAST_WORD_SECONDS: Final = 8.0
"""How long a worker that stops itself goes on trying to reach a database that is away."""


class RunSupervisor:
    """The life of one claimed run, from the start of its process to its last word."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        held: HeldRun,
        stop_requested: Callable[[], bool],
        child_module: str = TRAINING_MODULE,
        spares: SpareKeeper | None = None,
    ) -> None:
        self._engine = engine
        self._folder = storage.path("runs", held.id)
        self._storage = storage
        self._held = held
        self._stop_requested = stop_requested
        self._child_module = child_module
        self._spares = spares
        self._intake = Intake(RunStatus.STARTING)
        self._result: ResultEvent | None = None
        self._failure: FailureEvent | None = None
        self._has_stopped = False
        self._kernel_kills = KernelKills()
        self._wishes = Wishes(finish=held.finishes)
        self._asked_to_stop_at: float | None = None
        self._next_beat = 0.0
        self._next_write = 0.0
        self._next_look = 0.0

    def run(self, devices: Sequence[DeviceLock]) -> None:
        """Train on one device or several, and write down how it went. Takes over their locks."""
        try:
            self._train(devices)
        except LostLeaseError:
            logger.info("Run %s is no longer ours under fence %d.", self._held.id, self._held.fence)
            self._leave()
        except DATABASE_AWAY:
            # The worker stops and the database stayed away; the lease runs out by itself.
            logger.exception("Run %s is left as it is.", self._held.id)

    def _train(self, devices: Sequence[DeviceLock]) -> None:
        try:
            child = self._start_child(devices)
        except OSError as error:
            # A full disk, most often.
            self._fail(_could_not_start(error))
            return
        with child:
            self._watch(child)
            child.kill()
            for event in child.events_left():
                self._take(event)
            self._conclude(child.exit_code or 0)

    def _start_child(self, devices: Sequence[DeviceLock]) -> TrainingChild:
        first, *further = devices
        kept, environment = [lock.descriptor for lock in devices], environment_for(first.device)
        order = Order(self._folder, self._held.fence, self._held.finishes)
        try:
            note_what_is_allowed(self._held.recipe, self._folder, first.device)
            child = TrainingChild(
                self._folder,
                self._held.fence,
                module=self._child_module,
                kept_descriptors=tuple(kept),
                environment=environment,
                further_devices=[lock.device.device.id for lock in further],
                finishes=order.finishes,
                process=self._take_spare(order, tuple(kept), environment) if not further else None,
            )
            self._sign(devices, child)
        finally:
            for lock in devices:
                lock.let_go()
        return child

    def _sign(self, devices: Sequence[DeviceLock], child: TrainingChild) -> None:
        started = process_start(child.pid)
        holder = LockHolder(child.pid, self._held.id, self._held.fence, started)
        try:
            for lock in devices:
                lock.sign(holder)
        except OSError:
            # Nobody could tell later whose it is, and nobody would watch it.
            child.kill()
            raise

    def _take_spare(
        self, order: Order, kept: tuple[int, ...], environment: dict[str, str]
    ) -> "subprocess.Popen[bytes] | None":
        if self._spares is None:
            return None
        if bits_of(self._held.recipe, self._folder) is Quantization.NONE:
            return self._spares.take(order, kept, environment)
        # One that waits has left out what calculates in few bits.
        self._spares.rest()
        return None

    def _watch(self, child: TrainingChild) -> None:
        """Listen until the process ends, or has said its last word, or must be ended.

        Raises:
            LostLeaseError: if the run is someone else's by now, or was cancelled.
        """
        while not (child.has_ended or self._result or self._failure):
            event = child.next_event(_LISTEN_SECONDS)
            while event is not None:
                self._take(event)
                event = child.next_event(0)
            self._keep_in_touch()
            self._heed_wishes(child)

    def _take(self, event: AnyChildEvent) -> None:
        match event:
            case ResultEvent():
                self._result = event
            case FailureEvent():
                self._failure = event
            case StoppedEvent():
                self._has_stopped = True
            case _:
                try:
                    self._intake.take(event)
                except IllegalMoveError as error:
                    logger.warning("Run %s: %s", self._held.id, error)

    def _keep_in_touch(self) -> None:
        """Write what was heard, hold the lease, and look whether the run still is ours."""
        now = time.monotonic()
        if now >= self._next_beat:
            on_time = self._try(lambda session: holding.beat(session, self._held))
            self._next_beat = now + (HEARTBEAT_SECONDS if on_time else _WRITE_SECONDS)
        if now >= self._next_write and not self._intake.batch.is_empty:
            self._write_batch()
            self._next_write = time.monotonic() + _WRITE_SECONDS
        if now >= self._next_look:
            self._try(self._look, read_only=True)
            self._next_look = time.monotonic() + _LOOK_SECONDS

    def _look(self, session: Session) -> None:
        self._wishes = holding.look(session, self._held)

    def _write_batch(self) -> bool:
        batch = self._intake.hand_over()
        written = self._try(lambda session: holding.write_batch(session, self._held, batch))
        if not written:
            self._intake.take_back(batch)
        return written

    def _try(self, action: Callable[[Session], object], *, read_only: bool = False) -> bool:
        """Do something in one transaction; False while the database is away."""
        try:
            with transaction(self._engine, read_only=read_only) as session:
                action(session)
        except DATABASE_AWAY as error:
            logger.warning("The database does not answer; the training goes on. %s", error)
            return False
        return True

    def _heed_wishes(self, child: TrainingChild) -> None:
        if self._wishes.finish:
            child.ask_to_finish()
        if self._stop_requested():
            self._ask_to_stop(child, patience=_SAVE_SECONDS)
        elif self._wishes.pause:
            self._ask_to_stop(child, patience=_PAUSE_SECONDS)

    def _ask_to_stop(self, child: TrainingChild, patience: float) -> None:
        now = time.monotonic()
        if self._asked_to_stop_at is None:
            self._asked_to_stop_at = now
            child.ask_to_stop()
        elif now > self._asked_to_stop_at + patience:
            child.kill()

    def _conclude(self, exit_code: int) -> None:
        """Write the last word, however long the database is away."""
        if self._result is not None:
            self._finish(self._result)
        elif self._failure is not None:
            self._fail(self._failure)
        elif self._has_stopped or self._asked_to_stop_at is not None:
            message = f"The training was stopped for a moment. {holding.GOES_ON}"
            self._insist(lambda session: holding.requeue(session, self._held, message))
        elif self._kernel_kills.explain(exit_code):
            self._step_down(exit_code)
        else:
            self._fail(_ended_without_a_word(exit_code))

    def _step_down(self, exit_code: int) -> None:
        """Let the next attempt begin with less memory, after the kernel ended this one.

        It does not count as a try while there is something left to do without: the way down is
        short, and each attempt begins below the last.
        """
        notes = MemoryNotes.read(self._folder)
        lower = notes.after_shortage()
        if lower is None:
            self._fail(_ended_by_the_kernel(exit_code))
            return
        lower.write(self._folder)
        message = f"The machine's memory ran out. It goes on with less at once. {holding.GOES_ON}"
        self._insist(lambda session: holding.requeue(session, self._held, message))

    def _finish(self, result: ResultEvent) -> None:
        try:
            if result.adapter_folder != f".adapter-{self._held.fence}":
                raise DamagedAdapterError(f"{result.adapter_folder} is another holder's")
            check_adapter(self._folder, result)
        except DamagedAdapterError as error:
            self._fail(_damaged_adapter(error))
            return
        self._insist(lambda session: self._publish(session, result))
        remove_what_is_no_longer_needed(self._folder)

    def _publish(self, session: Session, result: ResultEvent) -> None:
        run = holding.succeed(session, self._held, result, lambda: promote(self._folder, result))
        publish(session, run, result.adapter_sha256, result.adapter_bytes)

    def _fail(self, failure: FailureEvent) -> None:
        self._insist(lambda session: holding.fail(session, self._held, failure))

    def _insist(self, action: Callable[[Session], object]) -> None:
        """Do something, again and again while the database is away.

        Raises:
            LostLeaseError: if the run is someone else's by now.
            OperationalError: if this worker stops and can wait no longer.
        """
        pause = threading.Event()
        give_up_at: float | None = None
        while True:
            written = self._intake.batch.is_empty or self._write_batch()
            if written and self._try(action):
                return
            if self._stop_requested():
                give_up_at = give_up_at or time.monotonic() + _LAST_WORD_SECONDS
                if time.monotonic() > give_up_at:
                    raise OperationalError("the last word", {}, TimeoutError())
            pause.wait(_WRITE_SECONDS)

    def _leave(self) -> None:
        """Tidy up behind a run that is over for everyone, and leave any other alone."""
        try:
            with transaction(self._engine, read_only=True) as session:
                status = status_of(session, self._held.id)
        except DATABASE_AWAY:
            return
        if status is None:
            self._storage.remove("runs", self._held.id)
        elif status == RunStatus.CANCELLED:
            remove_what_is_no_longer_needed(self._folder)


def _could_not_start(error: OSError) -> FailureEvent:
    return FailureEvent.model_validate({"event": "failure", **describe(error).as_event()})


def _ended_without_a_word(exit_code: int) -> FailureEvent:
    return FailureEvent(
        event="failure",
        code="process_died",
        reason="The training process ended before it was done.",
        next_step="Most often the machine's memory was too small: choose a smaller base model, or "
        "start again when less is going on. The details help the person who runs Tailor.",
        details=f"It ended with {describe_exit(exit_code)}.",
        permanent=False,
    )


def _ended_by_the_kernel(exit_code: int) -> FailureEvent:
    return FailureEvent(
        event="failure",
        code="out_of_memory",
        reason="The machine's memory ran out, and the system ended the training. Everything that "
        "saves memory had been done by then.",
        next_step="Choose a smaller base model or shorter examples, or start again when less is "
        "going on on that machine.",
        details=f"It ended with {describe_exit(exit_code)}, and the kernel counted a kill for want "
        "of memory.",
        permanent=False,
    )


def _damaged_adapter(error: DamagedAdapterError) -> FailureEvent:
    return FailureEvent(
        event="failure",
        code="damaged_result",
        reason="What was learned could not be saved whole.",
        next_step="Ask the person who runs Tailor to check the disk, then start again.",
        details=str(error),
        permanent=False,
    )
