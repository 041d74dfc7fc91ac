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
import time
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition, Thread

import torch

from app.base_models.files import UnreadableModelError
from worker.inference.catalogue import BaseReference, Catalogue
from worker.inference.errors import (
    ChatServerError,
    model_changed,
    model_not_loadable,
    too_busy,
    unexpected,
)
from worker.inference.generation import Generation, GenerationRequest
from worker.inference.loaded_model import LoadedModel, needed_bytes, pick_device
from worker.inference.memory import available_bytes, give_back

logger = logging.getLogger(__name__)

MOST_RUNNING = 8
MOST_WAITING = 16
FEW_THREADS_PARAMETERS = 100_000_000
_SPARE_BYTES = 512 * 1024**2
_LONGEST_NAP_SECONDS = 5.0

_Key = tuple[str, str]


class Slot:
    """A place among the answers that are being written or wait. Give it back when done."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.generation: Generation | None = None

    def start(self, request: GenerationRequest) -> None:
        self.generation = Generation(request)
        self._engine.submit(self.generation)

    def give_back(self) -> None:
        """Free the place; an answer that is still being written ends with its present turn."""
        self._engine.free_slot(self.generation)


class Engine:
    def __init__(self, catalogue: Catalogue, idle_seconds: float) -> None:
        self._catalogue = catalogue
        self._idle_seconds = idle_seconds
        self._device = pick_device()
        self._all_threads = torch.get_num_threads()
        self._changed = Condition()
        self._slots = 0
        self._arrived: deque[Generation] = deque()
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._models: OrderedDict[_Key, LoadedModel] = OrderedDict()
        self._last_used: dict[_Key, float] = {}
        self._loading: tuple[_Key, Future[LoadedModel]] | None = None
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")
        self._release_asked = False
        self._stopping = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
        self._loader.shutdown(wait=False, cancel_futures=True)

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

    def free_slot(self, generation: Generation | None) -> None:
        with self._changed:
            self._slots -= 1
            if generation is not None and not generation.done:
                generation.cancelled = True
            self._changed.notify_all()

    def submit(self, generation: Generation) -> None:
        with self._changed:
            self._arrived.append(generation)
            self._changed.notify_all()

    def release(self) -> bool:
        """Unload everything as soon as nothing is being written; say whether that is now."""
        with self._changed:
            self._release_asked = True
            self._changed.notify_all()
            return not (self._running or self._arrived or self._loading)

    def loaded_names(self) -> list[str]:
        return [base_id for base_id, _ in list(self._models)]

    def has_loaded(self, base: BaseReference) -> bool:
        return _key(base) in self._models

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
        broken = [*self._waiting, *self._running]
        self._waiting.clear()
        self._running.clear()
        for generation in broken:
            if not generation.done:
                generation.break_off(unexpected())

    def _has_work(self) -> bool:
        loaded = self._loading is not None and self._loading[1].done()
        release = self._release_asked and self._loading is None
        return bool(self._running or self._arrived or release or loaded or self._stopping)

    def _nap_seconds(self) -> float:
        if not self._last_used:
            return _LONGEST_NAP_SECONDS
        first_idle = min(self._last_used.values()) + self._idle_seconds
        return max(0.05, min(_LONGEST_NAP_SECONDS, first_idle - time.monotonic()))

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
        still_waiting: deque[Generation] = deque()
        blocked = False
        while self._waiting:
            generation = self._waiting.popleft()
            key = _key(generation.request.reference.base)
            if key in self._models and len(self._running) < MOST_RUNNING and not blocked:
                self._running.append(generation)
                continue
            if key not in self._models and not blocked:
                blocked = not self._begin_loading(generation)
            if not generation.done:
                still_waiting.append(generation)
        self._waiting = still_waiting

    def _begin_loading(self, generation: Generation) -> bool:
        """Begin to load the model of a waiting answer; return False if it has to wait for room."""
        base = generation.request.reference.base
        if self._loading is not None:
            return True
        try:
            if not self._make_room(needed_bytes(base, self._device)):
                return False
        except ChatServerError as error:
            generation.break_off(error)
            return True
        except (UnreadableModelError, OSError):
            logger.exception("the base model %s cannot be read", base.id)
            generation.break_off(model_not_loadable(base.name))
            return True
        future = self._loader.submit(self._load, base)
        future.add_done_callback(lambda _: self._wake())
        self._loading = (_key(base), future)
        return True

    def _make_room(self, needed: int) -> bool:
        """Unload idle models, the longest idle first, until there is room.

        Raises:
            ChatServerError: 503 if there would not be room even with nothing else loaded.
        """
        while available_bytes(self._device) < needed + _SPARE_BYTES:
            in_use = {_key(g.request.reference.base) for g in self._running}
            idle = sorted(self._models.keys() - in_use, key=lambda key: self._last_used[key])
            if idle:
                self._unload(idle[0])
            elif in_use:
                return False
            else:
                raise ChatServerError(
                    503,
                    "out_of_memory",
                    f"This model needs {needed / 1e9:.1f} GB of memory, and this machine has "
                    f"{available_bytes(self._device) / 1e9:.1f} GB free. Wait until a training "
                    "ends, or choose a smaller base model.",
                    retry_after=30,
                )
        return True

    def _load(self, base: BaseReference) -> LoadedModel:
        started = time.monotonic()
        self._catalogue.verify(base)
        model = LoadedModel(base, self._device)
        logger.info("loaded %s in %.1f s", base.id, time.monotonic() - started)
        return model

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _finish_loading(self) -> None:
        if self._loading is None or not self._loading[1].done():
            return
        key, future = self._loading
        self._loading = None
        problem = future.exception()
        if problem is None:
            self._models[key] = future.result()
            self._choose_threads()
            self._last_used[key] = time.monotonic()
            return
        known = problem if isinstance(problem, ChatServerError) else None
        if known is None:
            logger.error("the base model %s could not be loaded", key[0], exc_info=problem)
        for generation in self._waiting:
            base = generation.request.reference.base
            if _key(base) == key:
                generation.break_off(known or model_not_loadable(base.name))

    def _choose_threads(self) -> None:
        # Threads that wait for each other cost a small model more than they bring: on two busy
        # cores it wrote 4 tokens a second with two threads and 240 with one.
        small = all(model.parameters < FEW_THREADS_PARAMETERS for model in self._models.values())
        torch.set_num_threads(1 if small else self._all_threads)

    def _take_turns(self) -> None:
        self._running.sort(key=_turn_order)
        for generation in self._running:
            if generation.cancelled:
                continue
            key = _key(generation.request.reference.base)
            model = self._models[key]
            self._last_used[key] = time.monotonic()
            try:
                model.use(generation.request.reference)
                generation.step(model)
            except Exception as error:
                # The boundary of one answer: its failure must not take the others with it.
                logger.exception("an answer by %s broke off", generation.request.reference.name)
                generation.break_off(_unusable_adapter() if model.is_spoiled else _explain(error))
                if model.is_spoiled:
                    self._drop_spoiled(key)
                    break
        self._running = [g for g in self._running if not g.done]

    def _drop_spoiled(self, key: _Key) -> None:
        """Forget a model into which an adapter went only in part, and end the answers on it."""
        for generation in self._running:
            if _key(generation.request.reference.base) == key and not generation.done:
                generation.break_off(unexpected())
        self._unload(key)

    def _release_if_asked(self) -> None:
        if not self._release_asked or self._running or self._loading is not None:
            return
        for key in list(self._models):
            self._unload(key)
        give_back()
        self._release_asked = False

    def _unload_idle(self) -> None:
        in_use = {_key(g.request.reference.base) for g in [*self._running, *self._waiting]}
        for key in list(self._models):
            idle = time.monotonic() - self._last_used[key]
            if key not in in_use and idle >= self._idle_seconds:
                self._unload(key)

    def _unload(self, key: _Key) -> None:
        del self._models[key], self._last_used[key]
        give_back()
        logger.info("unloaded %s", key[0])


def _key(base: BaseReference) -> _Key:
    return base.id, base.fingerprint


def _turn_order(generation: Generation) -> tuple[str, str, str]:
    reference = generation.request.reference
    return reference.base.id, reference.base.fingerprint, reference.name


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
