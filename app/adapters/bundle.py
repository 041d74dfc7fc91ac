"""A version as one zip file, made while it is sent: memory stays the same for any size."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from stream_zip import ZIP_AUTO, Method, stream_zip

from app.adapters.model_card import (
    BASE_FOLDER_IN_BUNDLE,
    CardFacts,
    render_model_card,
    render_use_it,
)
from app.base_models.files import model_files

_CHUNK_BYTES: Final = 256 * 1024
_FILE_MODE: Final = 0o100644
# Weights do not shrink; trying would only cost time.
_STORED: Final = 0
_COMPRESSED: Final = 6
_CONFIG_FILE: Final = "adapter_config.json"
_TAKEN_SUFFIXES: Final = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})

ZipMember = tuple[str, datetime, int, Method, Iterable[bytes]]


@dataclass(frozen=True)
class Bundle:
    """What a download consists of.

    Attributes:
        name: of the folder in the zip, and of the zip without its ending.
        adapter_folder: the adapter's files as training left them.
    """

    name: str
    adapter_folder: Path
    card: CardFacts

    @property
    def file_name(self) -> str:
        return f"{self.name}.zip"

    def stream(self) -> Iterator[bytes]:
        """Yield the zip, piece by piece."""
        pieces: Iterable[bytes] = stream_zip(self._members(), chunk_size=_CHUNK_BYTES)
        yield from pieces

    def _members(self) -> Iterator[ZipMember]:
        yield self._text("README.md", render_model_card(self.card))
        yield self._text("use_it.py", render_use_it(self.card))
        if not self.card.is_whole:
            yield self._text(_CONFIG_FILE, self._adapter_config())
        for path in sorted(self.adapter_folder.iterdir()):
            if path.is_file() and path.suffix in _TAKEN_SUFFIXES and path.name != _CONFIG_FILE:
                yield self._file(path.name, path)
        if self.card.base.folder is not None and not self.card.is_whole:
            for path in model_files(self.card.base.folder):
                yield self._file(f"{BASE_FOLDER_IN_BUNDLE}/{path.name}", path)

    def _adapter_config(self) -> str:
        """The adapter's configuration, naming the base model as the world outside knows it."""
        config: dict[str, Any] = json.loads(
            (self.adapter_folder / _CONFIG_FILE).read_text(encoding="utf-8")
        )
        config["base_model_name_or_path"] = self.card.base.reference
        config["revision"] = self.card.base.revision if self.card.base.hub_id else None
        return json.dumps(config, indent=2, sort_keys=True)

    def _text(self, name: str, text: str) -> ZipMember:
        content = text.encode()
        return self._member(name, len(content), [content], _COMPRESSED)

    def _file(self, name: str, path: Path) -> ZipMember:
        level = _STORED if path.suffix == ".safetensors" else _COMPRESSED
        return self._member(name, path.stat().st_size, _read(path), level)

    def _member(self, name: str, size: int, content: Iterable[bytes], level: int) -> ZipMember:
        method = ZIP_AUTO(size, level=level)
        return (f"{self.name}/{name}", self.card.created_at, _FILE_MODE, method, content)


def bundle_name(project_name: str, version_number: int) -> str:
    """Return a name that every file system and every header can bear."""
    plain = unicodedata.normalize("NFKD", project_name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:60].strip("-")
    return f"{words or 'model'}-v{version_number}"


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
