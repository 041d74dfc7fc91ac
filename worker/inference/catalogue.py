"""Which models there are: plain files that the product wrote, looked up by plain names.

A base model is models/<id>/model.json; a tuned model is runs/<run id>/ with recipe.json and
adapter/. Nobody hands in a path, and what is found is checked before it is trusted: only
safetensors, and only the files whose fingerprint the product wrote down.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from app.base_models.files import fingerprint, model_files
from app.runs.objectives import OBJECTIVES
from app.runs.recipe import RECIPE_FILE, Recipe
from app.runs.result_files import is_whole_model, weights_files, weights_sha256
from app.storage.folders import Storage
from worker.inference.errors import ChatServerError, model_changed, model_missing

ADAPTER_CONFIG_FILE = "adapter_config.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")

_Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class BaseReference:
    """A base model on this machine."""

    id: str
    name: str
    folder: Path
    fingerprint: str
    is_version: bool = False
    """Whether it is no base model at all but a version that was trained as a whole."""


@dataclass(frozen=True)
class ModelReference:
    """What a request's `model` names: a base model, or what a run made of it.

    Attributes:
        base: the base model, from which a version was trained.
        adapter_folder: the files of the version.
        adapter_digest: SHA-256 of its weights.
        is_whole: whether the version is a model of its own, not an adapter on the base model.
        sorts: whether it sorts texts into kinds instead of answering.
        reads_tokens: of a text that it sorts, as many as it read of each in its training.
    """

    base: BaseReference
    run_id: str | None = None
    adapter_folder: Path | None = None
    adapter_digest: str | None = None
    is_whole: bool = False
    sorts: bool = False
    reads_tokens: int | None = None

    @property
    def loads(self) -> BaseReference:
        """What has to be in memory to answer."""
        folder, digest = self.adapter_folder, self.adapter_digest
        if not self.is_whole or folder is None or digest is None:
            return self.base
        return BaseReference(self.name, self.name, folder, digest, is_version=True)

    @property
    def name(self) -> str:
        return self.run_id or self.base.id

    @property
    def system_fingerprint(self) -> str:
        return f"tailor-{self.base.fingerprint[:12]}-{(self.adapter_digest or 'base')[:12]}"

    def stamp(self) -> dict[str, str | None]:
        """Say what answers, for the response."""
        return {
            "base_model": self.base.id,
            "base_fingerprint": self.base.fingerprint,
            "adapter_digest": self.adapter_digest,
            "run_id": self.run_id,
        }


class Catalogue:
    """Looks models up, and remembers what it has already read through."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = Lock()
        self._verified: dict[str, tuple[str, _Signature]] = {}
        self._digests: dict[Path, tuple[_Signature, str]] = {}

    def names(self) -> list[str]:
        """Return the names of all models that can be asked, base models first."""
        models = sorted(
            path.parent.name for path in self._storage.path("models").glob("*/model.json")
        )
        runs = sorted(
            path.parent.name
            for path in self._storage.path("runs").glob("*/adapter/")
            if weights_files(path)
        )
        return [name for name in (*models, *runs) if _PLAIN_NAME.fullmatch(name)]

    def resolve(self, name: str) -> ModelReference:
        """Return what a name stands for.

        Raises:
            ChatServerError: 404 if it is not there (any more), 409 if its files changed.
        """
        if not _PLAIN_NAME.fullmatch(name):
            raise model_missing(
                "There is no model of this name. Names are plain letters and digits."
            )
        if (self._storage.path("models", name) / "model.json").is_file():
            return ModelReference(self._base(name))
        run_folder = self._storage.path("runs", name)
        if not (run_folder / RECIPE_FILE).is_file():
            raise model_missing(
                "There is no model of this name on this machine. It may have been deleted; "
                "choose another version."
            )
        return self._tuned(name, run_folder)

    def verify(self, base: BaseReference) -> None:
        """Read a base model's files through, unless that was done and nothing moved since.

        Raises:
            ChatServerError: 404 if the files are gone, 409 if they are not the ones written down.
        """
        if base.is_version:
            # Its digest was taken over the files when the request came.
            return
        try:
            signature = _signature(model_files(base.folder))
            with self._lock:
                if self._verified.get(base.id) == (base.fingerprint, signature):
                    return
            found = fingerprint(base.folder)
        except OSError as error:
            raise _base_gone(base.name) from error
        if found != base.fingerprint:
            raise model_changed(
                f"The files of the base model {base.name} changed since it was added, so nothing "
                "they answer can be trusted. Fetch the base model again."
            )
        with self._lock:
            self._verified[base.id] = (base.fingerprint, signature)

    def _base(self, base_id: str) -> BaseReference:
        try:
            text = (self._storage.path("models", base_id) / "model.json").read_text(
                encoding="utf-8"
            )
            description = json.loads(text)
            base = BaseReference(
                id=base_id,
                name=str(description["name"]),
                folder=Path(description["folder"]),
                fingerprint=str(description["fingerprint"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise model_missing(
                "The description of this base model cannot be read. Fetch the base model again."
            ) from error
        if not (base.folder / "config.json").is_file():
            raise _base_gone(base.name)
        with self._lock:
            known = base_id in self._verified
        if known:
            self.verify(base)
        return base

    def _tuned(self, run_id: str, run_folder: Path) -> ModelReference:
        try:
            recipe = Recipe.read(run_folder)
        except (OSError, ValidationError) as error:
            raise model_missing(
                "The recipe of this version cannot be read. Train the version again."
            ) from error
        if not (self._storage.path("models", recipe.base_model_id) / "model.json").is_file():
            raise _base_gone(recipe.base_model_name)
        base = self._base(recipe.base_model_id)
        if base.fingerprint != recipe.base_model_fingerprint:
            raise model_changed(
                f"The base model {base.name} is not the one that this version was trained on: its "
                "files changed. Train a new version."
            )
        folder = run_folder / "adapter"
        digest, is_whole = self._weights_digest(folder), is_whole_model(folder)
        sorts = OBJECTIVES[recipe.objective].sorts
        reads_tokens = recipe.max_tokens_per_example if sorts else None
        return ModelReference(base, run_id, folder, digest, is_whole, sorts, reads_tokens)

    def _weights_digest(self, folder: Path) -> str:
        try:
            config = "config.json" if is_whole_model(folder) else ADAPTER_CONFIG_FILE
            signature = _signature([*weights_files(folder), folder / config])
            with self._lock:
                known = self._digests.get(folder)
            if known is not None and known[0] == signature:
                return known[1]
            digest = weights_sha256(folder)
        except OSError as error:
            raise model_missing(
                "The files of this version are not on this machine. Its training may not be "
                "finished, or they were deleted; train a new version."
            ) from error
        with self._lock:
            self._digests[folder] = (signature, digest)
        return digest


def _signature(files: list[Path]) -> _Signature:
    facts = [(file, file.stat()) for file in files]
    return tuple((file.name, fact.st_size, fact.st_mtime_ns) for file, fact in facts)


def _base_gone(name: str) -> ChatServerError:
    return model_missing(
        f"The files of the base model {name} are not on this machine any more. "
        "Fetch the base model again."
    )
