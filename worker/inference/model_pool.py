"""The base models in memory: loaded beside what goes on, and unloaded when others need the room."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from app.base_models.files import UnreadableModelError
from worker.device_memory import available_bytes, give_back
from worker.inference.catalogue import BaseReference, Catalogue
from worker.inference.errors import ChatServerError, model_not_loadable
from worker.inference.loaded_model import LoadedModel, needed_bytes, pick_device

logger = logging.getLogger(__name__)

FEW_THREADS_PARAMETERS = 100_000_000
_SPARE_BYTES = 512 * 1024**2

ModelKey = tuple[str, str]


def key_of(base: BaseReference) -> ModelKey:
    return base.id, base.fingerprint


class ModelPool:
    """Which base models are in memory. The engine's thread alone changes it; any thread may look.

    One model at a time is loaded by a thread of its own, so that others go on being answered.
    """

    def __init__(
        self, catalogue: Catalogue, idle_seconds: float, on_loaded: Callable[[], None]
    ) -> None:
        """Begin with none.

        Args:
            catalogue: checks a model's files before they are trusted.
            idle_seconds: after which a model that nobody asks leaves.
            on_loaded: called from the loading thread when a model is there, or failed to come.
        """
        self._catalogue = catalogue
        self._idle_seconds = idle_seconds
        self._on_loaded = on_loaded
        self._device = pick_device()
        self._all_threads = torch.get_num_threads()
        self._models: dict[ModelKey, LoadedModel] = {}
        self._last_used: dict[ModelKey, float] = {}
        self._loading: tuple[BaseReference, Future[LoadedModel]] | None = None
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")
        self._held_until = 0.0

    def __contains__(self, base: BaseReference) -> bool:
        return key_of(base) in self._models

    def names(self) -> list[str]:
        return [base_id for base_id, _ in list(self._models)]

    @property
    def is_loading(self) -> bool:
        return self._loading is not None

    @property
    def has_finished_loading(self) -> bool:
        return self._loading is not None and self._loading[1].done()

    @property
    def is_held(self) -> bool:
        """Whether the memory is kept free for someone else for now."""
        return time.monotonic() < self._held_until

    def hold(self, seconds: float) -> None:
        """Load nothing for so long: who asked for the memory needs a while to take it."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def use(self, base: BaseReference) -> LoadedModel:
        """Return a model that is there, and note that it is in use."""
        self._last_used[key_of(base)] = time.monotonic()
        return self._models[key_of(base)]

    def begin_loading(self, base: BaseReference, in_use: set[ModelKey]) -> bool:
        """Begin to load a model; return False if it has to wait for room.

        Raises:
            ChatServerError: 500 if it cannot be read, 503 if there will never be room for it.
        """
        if self._loading is not None:
            return True
        if self.is_held:
            return False
        try:
            needed = needed_bytes(base, self._device)
        except (UnreadableModelError, OSError) as error:
            logger.exception("the base model %s cannot be read", base.id)
            raise model_not_loadable(base.name) from error
        if not self._make_room(needed, in_use):
            return False
        future = self._loader.submit(self._load, base)
        future.add_done_callback(lambda _: self._on_loaded())
        self._loading = (base, future)
        return True

    def finish_loading(self) -> tuple[BaseReference, ChatServerError] | None:
        """Take in a model that was loaded; return which one could not be, and why, if so."""
        if self._loading is None or not self._loading[1].done():
            return None
        base, future = self._loading
        self._loading = None
        problem = future.exception()
        if problem is None:
            self._models[key_of(base)] = future.result()
            self._last_used[key_of(base)] = time.monotonic()
            self._choose_threads()
            return None
        if isinstance(problem, ChatServerError):
            return base, problem
        logger.error("the base model %s could not be loaded", base.id, exc_info=problem)
        return base, model_not_loadable(base.name)

    def unload(self, key: ModelKey) -> None:
        del self._models[key], self._last_used[key]
        give_back()
        logger.info("unloaded %s", key[0])

    def unload_all(self) -> None:
        for key in list(self._models):
            self.unload(key)
        give_back()

    def unload_idle(self, in_use: set[ModelKey]) -> None:
        for key in list(self._models):
            idle = time.monotonic() - self._last_used[key]
            if key not in in_use and idle >= self._idle_seconds:
                self.unload(key)

    def seconds_until_change(self) -> float:
        """How long nothing here changes by itself: until a model is idle, or a hold ends."""
        moments = [used + self._idle_seconds for used in self._last_used.values()]
        if self.is_held:
            moments.append(self._held_until)
        return min(moments, default=float("inf")) - time.monotonic()

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, needed: int, in_use: set[ModelKey]) -> bool:
        """Unload idle models, the longest idle first, until there is room.

        Raises:
            ChatServerError: 503 if there would not be room even with nothing else loaded.
        """
        while available_bytes(self._device) < needed + _SPARE_BYTES:
            idle = sorted(self._models.keys() - in_use, key=lambda key: self._last_used[key])
            if idle:
                self.unload(idle[0])
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

    def _choose_threads(self) -> None:
        # Threads that wait for each other cost a small model more than they bring: on two busy
        # cores it wrote 4 tokens a second with two threads and 240 with one.
        small = all(model.parameters < FEW_THREADS_PARAMETERS for model in self._models.values())
        torch.set_num_threads(1 if small else self._all_threads)
