"""The prompters in use, each built once however many ask for it at the same time."""

import logging
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

from app.base_models.files import UnreadableModelError
from worker.inference.catalogue import ModelReference
from worker.inference.errors import model_not_loadable
from worker.inference.prompts import Prompter
from worker.inference.template_renderer import TemplateRenderer
from worker.methods.adapter_files import virtual_tokens

logger = logging.getLogger(__name__)

_MOST_PROMPTERS = 16


class Prompters:
    """Keeps the last used ones. May be asked from any thread."""

    def __init__(self, renderer: TemplateRenderer) -> None:
        self._renderer = renderer
        self._prompters: OrderedDict[tuple[Path, str], Future[Prompter]] = OrderedDict()
        self._lock = Lock()

    def get(self, reference: ModelReference) -> Prompter:
        """Return the prompter of a model; a large tokenizer takes seconds, and only its own askers.

        Raises:
            ChatServerError: 500 if the model's files cannot be read.
        """
        folder = reference.adapter_folder or reference.base.folder
        key = (folder, reference.adapter_digest or reference.base.fingerprint)
        with self._lock:
            prompter = self._prompters.get(key)
            is_first = prompter is None
            if prompter is None:
                prompter = self._prompters[key] = Future()
            self._prompters.move_to_end(key)
            while len(self._prompters) > _MOST_PROMPTERS:
                self._prompters.popitem(last=False)
        if is_first:
            self._build(key, prompter, reference)
        return prompter.result()

    def _build(
        self, key: tuple[Path, str], prompter: Future[Prompter], reference: ModelReference
    ) -> None:
        try:
            taken = virtual_tokens(reference.adapter_folder)
            prompter.set_result(Prompter(key[0], reference.base.folder, self._renderer, taken))
        except Exception as error:
            # Whatever it is, those who wait for the same prompter must hear of it, and the next one
            # who asks tries anew.
            with self._lock:
                if self._prompters.get(key) is prompter:
                    del self._prompters[key]
            logger.exception("the files of %s cannot be read", reference.name)
            is_unreadable = isinstance(error, UnreadableModelError | OSError)
            prompter.set_exception(
                model_not_loadable(reference.base.name) if is_unreadable else error
            )
