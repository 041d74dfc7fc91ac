"""models/<id>/model.json: what training and chat need to know of a base model, as plain data."""

import json
from pathlib import Path

from pydantic import BaseModel as PlainData
from pydantic import ConfigDict

from app.base_models.tables import BaseModel
from app.storage.durable import write_atomically
from app.storage.folders import Storage

FILE_NAME = "model.json"


class ModelDescription(PlainData):
    """The contents of model.json."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    folder: Path
    fingerprint: str
    revision: str | None = None
    source: str
    licence: str = ""


def write_description(storage: Storage, model: BaseModel) -> None:
    """Write model.json for a base model whose files lie ready."""
    content = {
        "id": model.id,
        "name": model.name,
        "folder": model.folder,
        "fingerprint": model.fingerprint,
        "revision": model.revision,
        "source": model.source,
        "licence": str(model.facts.get("licence", "")),
    }
    folder = storage.folder("models", model.id)
    write_atomically(folder / FILE_NAME, json.dumps(content, indent=2).encode())
