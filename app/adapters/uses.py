"""Deleting a base model that projects may have trained on."""

from sqlalchemy.orm import Session

from app.adapters import repository
from app.base_models import service
from app.base_models.errors import InUseError, Uses
from app.base_models.tables import BaseModel
from app.storage.folders import Storage


def delete_unused(session: Session, storage: Storage, model: BaseModel) -> None:
    """Delete a base model, or say what was made with it and whose that is.

    Raises:
        BuiltInError, BusyError, InUseError
    """
    base_model_id, name = model.id, model.name
    try:
        service.delete(session, storage, model)
    except InUseError as error:
        uses = _uses(session, base_model_id)
        if uses is None:
            raise
        raise InUseError(name, uses) from error


def _uses(session: Session, base_model_id: str) -> Uses | None:
    """Return what was made with a base model; None if its projects are all being deleted."""
    versions, trainings = repository.count_made_with(session, base_model_id)
    owners: dict[str, list[str]] = {}
    for project_id, name in repository.owners_who_made_with(session, base_model_id):
        owners.setdefault(project_id, []).extend([name] if name is not None else [])
    if not owners:
        return None
    return Uses(
        versions=versions,
        trainings=trainings,
        projects=len(owners),
        owners=tuple(sorted({name for names in owners.values() for name in names})),
        has_ownerless=not all(owners.values()),
    )
