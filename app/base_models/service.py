"""What can be done with base models."""

from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.base_models import repository
from app.base_models.description import write_description
from app.base_models.files import fingerprint, read_shape
from app.base_models.tables import BaseModel, BaseModelStatus
from app.storage.folders import Storage

STARTER_ID: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).resolve().parent / "starter"


def register_built_in(session: Session, storage: Storage) -> BaseModel:
    """Put Tailor Starter on the shelf, or bring its row up to date after an upgrade."""
    model = repository.get(session, STARTER_ID)
    if model is None:
        model = BaseModel(id=STARTER_ID, source="builtin", name="Tailor Starter", facts={})
        repository.add(session, model)
    shape = read_shape(STARTER_FOLDER)
    model.folder = str(STARTER_FOLDER)
    model.fingerprint = fingerprint(STARTER_FOLDER)
    model.status = BaseModelStatus.READY
    model.facts = {
        "licence": "Apache-2.0",
        "languages": "Simple English",
        "parameters": shape.parameters,
        "context_length": shape.context_length,
        "architecture": shape.architecture,
        "summary": "A practice model that comes with Tailor. It knows simple English about shops "
        "and offices, makes mistakes, and learns your examples in a minute or two.",
    }
    session.flush()
    write_description(storage, model)
    return model
