"""The engine: one thread that owns the models and lets every answer take its turn.

Each answer has its own memory (a KV cache), and in each round every answer that is being written
gets exactly one turn, those with the same adapter one after the other so that the adapter is
switched once a round. Answers come out as they would alone: nothing is batched, so a neighbour
changes no number.

Base models are loaded by a second thread, so that others go on being answered meanwhile. Another
one is loaded beside those in memory if it fits; otherwise the one that was idle longest leaves.
Who waits for a model that has to wait for room is not overtaken.
"""

import logging
from collections import deque
from collections.abc import Iterable
from threading import Condition, Thread
from typing import Literal

import torch

from worker.inference.catalogue import BaseReference, Catalogue
from worker.inference.errors import ChatServerError, model_changed, too_busy, unexpected
from worker.inference.generation import Generation, GenerationRequest
from worker.inference.model_pool import ModelKey, ModelPool, key_of
from worker.inference.sorting import Sorting

logger = logging.getLogger(__name__)

MOST_RUNNING = 8
MOST_WAITING = 16
_LONGEST_NAP_SECONDS = 5.0
_SHORTEST_NAP_SECONDS = 0.05

Work = Generation | Sorting
"""An answer that is written, or a text that is sorted."""
WaitingState = Literal["queued", "loading", "held"]
"""Why an answer has not begun: others come first, its model is loaded, or a training needs the
memory."""


class Slot:
    """A place among the answers that are being written or wait. Give it back when done."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.generation: Work | None = None

    def start(self, request: GenerationRequest) -> None:
        sorts = request.reference.sorts
        self.generation = Sorting(request) if sorts else Generation(request)
        self._engine.submit(self.generation)

    def give_back(self) -> None:
        """Free the place; an answer that is still being written ends with its present turn."""
        self._engine.free_slot(self.generation)


class Engine:
    def __init__(self, catalogue: Catalogue, idle_seconds: float) -> None:
        self._changed = Condition()
        self._slots = 0
        self._arrived: deque[Work] = deque()
        self._waiting: deque[Work] = deque()
        self._running: list[Work] = []
        self._pool = ModelPool(catalogue, idle_seconds, self._wake)
        self._release_asked = False
        self._hold_seconds = 0.0
        self.releases = 0
        """How often everything was unloaded because someone asked for the memory."""
        self._stopping = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
        self._pool.close()

    # Called from other threads.

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def take_slot(self) -> Slot:
        """Return a place for one more answer.

        Raises:
            ChatServerError: 429 if all places are taken.
        """
        with self._changed:
            if self._slots >= MOST_RUNNING + MOST_WAITING:
                raise too_busy()
            self._slots += 1
        return Slot(self)

    def free_slot(self, generation: Work | None) -> None:
        with self._changed:
            self._slots -= 1
            if generation is not None and not generation.done:
                generation.cancelled = True
            self._changed.notify_all()

    def submit(self, generation: Work) -> None:
        with self._changed:
            self._arrived.append(generation)
            self._changed.notify_all()

    def release(self, hold_seconds: float = 0.0) -> bool:
        """Unload everything as soon as nothing is being written; say whether that is now.

        Args:
            hold_seconds: how long nothing is loaded after that, so that who waits for an answer
                does not take the memory back before it is used.
        """
        with self._changed:
            self._release_asked = True
            self._hold_seconds = max(self._hold_seconds, hold_seconds)
            self._changed.notify_all()
            # One that is done stands there until its round ends, which nobody need wait for.
            writes = any(not generation.done for generation in self._running)
            return not (writes or self._arrived or self._pool.is_loading)

    def loaded_names(self) -> list[str]:
        return self._pool.names()

    def waiting_state(self, base: BaseReference) -> WaitingState:
        """Say why an answer by a model on this base has not begun."""
        if self._release_asked or (self._pool.is_held and base not in self._pool):
            return "held"
        return "queued" if base in self._pool else "loading"

    def busy(self) -> int:
        """Return how many answers are being written or wait."""
        return self._slots

    # The engine's own thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._has_work():
                    self._changed.wait(self._nap_seconds())
                if self._stopping:
                    return
                self._waiting.extend(self._arrived)
                self._arrived.clear()
            try:
                self._round()
            except Exception:
                # The boundary of one round: without this thread every later question would wait
                # for ever, so what was being written ends and the thread stays.
                logger.exception("a round of the engine broke off")
                self._break_off_all()

    def _round(self) -> None:
        self._finish_loading()
        self._drop_cancelled()
        self._release_if_asked()
        self._admit()
        self._take_turns()
        self._unload_idle()

    def _break_off_all(self) -> None:
        self._release_asked = False
        self._hold_seconds = 0.0
        broken = [*self._waiting, *self._running]
        self._waiting.clear()
        self._running.clear()
        for generation in broken:
            if not generation.done:
                generation.break_off(unexpected())

    def _has_work(self) -> bool:
        loaded = self._pool.has_finished_loading
        release = self._release_asked and not self._pool.is_loading
        return bool(self._running or self._arrived or release or loaded or self._stopping)

    def _nap_seconds(self) -> float:
        until_change = self._pool.seconds_until_change()
        return max(_SHORTEST_NAP_SECONDS, min(_LONGEST_NAP_SECONDS, until_change))

    def _drop_cancelled(self) -> None:
        for generation in [*self._waiting, *self._running]:
            if generation.cancelled:
                generation.cancel()
        self._waiting = deque(g for g in self._waiting if not g.done)
        self._running = [g for g in self._running if not g.done]

    def _admit(self) -> None:
        """Let those in whose model is loaded, in order; nobody overtakes who waits for room."""
        if self._release_asked:
            return
        still_waiting: deque[Work] = deque()
        blocked = False
        while self._waiting:
            generation = self._waiting.popleft()
            is_loaded = generation.request.reference.loads in self._pool
            if is_loaded and len(self._running) < MOST_RUNNING and not blocked:
                self._running.append(generation)
                continue
            if not is_loaded and not blocked:
                blocked = not self._begin_loading(generation)
            if not generation.done:
                still_waiting.append(generation)
        self._waiting = still_waiting

    def _begin_loading(self, generation: Work) -> bool:
        """Begin to load the model of a waiting answer; return False if it has to wait for room."""
        try:
            return self._pool.begin_loading(
                generation.request.reference.loads, _models_of(self._running)
            )
        except ChatServerError as error:
            generation.break_off(error)
            return True

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _finish_loading(self) -> None:
        failed = self._pool.finish_loading()
        if failed is None:
            return
        base, error = failed
        for generation in self._waiting:
            if key_of(generation.request.reference.loads) == key_of(base):
                generation.break_off(error)

    def _take_turns(self) -> None:
        # Not in its place: a list that is being sorted looks empty to who asks for a release.
        self._running = sorted(self._running, key=_turn_order)
        for generation in self._running:
            if generation.cancelled:
                continue
            base = generation.request.reference.loads
            model = self._pool.use(base)
            try:
                model.use(generation.request.reference)
                generation.step(model)
            except Exception as error:
                # The boundary of one answer: its failure must not take the others with it.
                logger.exception("an answer by %s broke off", generation.request.reference.name)
                generation.break_off(_unusable_adapter() if model.is_spoiled else _explain(error))
                if model.is_spoiled:
                    self._drop_spoiled(key_of(base))
                    break
        self._running = [g for g in self._running if not g.done]

    def _drop_spoiled(self, key: ModelKey) -> None:
        """Forget a model into which an adapter went only in part, and end the answers on it."""
        for generation in self._running:
            if key_of(generation.request.reference.loads) == key and not generation.done:
                generation.break_off(unexpected())
        self._pool.unload(key)

    def _release_if_asked(self) -> None:
        if not self._release_asked or self._running or self._pool.is_loading:
            return
        self._pool.unload_all()
        with self._changed:
            # The time begins now: a long answer may have kept the memory since it was asked for.
            self._pool.hold(self._hold_seconds)
            self._hold_seconds = 0.0
            self._release_asked = False
            self.releases += 1

    def _unload_idle(self) -> None:
        self._pool.unload_idle(_models_of([*self._running, *self._waiting]))


def _models_of(generations: Iterable[Work]) -> set[ModelKey]:
    return {key_of(generation.request.reference.loads) for generation in generations}


def _turn_order(generation: Work) -> tuple[str, str, str]:
    reference = generation.request.reference
    return reference.loads.id, reference.loads.fingerprint, reference.name


def _unusable_adapter() -> ChatServerError:
    return model_changed(
        "The files of this version are damaged or do not fit its base model. Train a new version."
    )


def _explain(error: Exception) -> ChatServerError:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return ChatServerError(
            503,
            "out_of_memory",
            "The machine ran out of memory while answering. Shorten the conversation, or wait "
            "until a training ends, then ask again.",
            retry_after=30,
        )
    return unexpected()
