"""The queries about base models."""

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel, BaseModelStatus, StoredSecret
from app.database.base import database_epoch


def get(session: Session, base_model_id: str) -> BaseModel | None:
    return session.get(BaseModel, base_model_id)


def all_models(session: Session) -> Sequence[BaseModel]:
    return session.scalars(select(BaseModel).order_by(BaseModel.created_at)).all()


def of_hub(session: Session, hub_id: str) -> Sequence[BaseModel]:
    """All rows for a model of the hub, the newest first."""
    return session.scalars(
        select(BaseModel)
        .where(BaseModel.hub_id == hub_id)
        .order_by(BaseModel.created_at.desc(), BaseModel.id)
    ).all()


def one_at_a_time(session: Session, subject: str) -> None:
    """Until the commit, let nobody else past here with the same subject.

    SQLite has one writer anyway; on PostgreSQL two requests could both find nothing and both add.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(subject))))


def is_cancel_requested(session: Session, base_model_id: str) -> bool:
    moment = session.scalars(
        select(BaseModel.cancel_requested_at).where(BaseModel.id == base_model_id)
    ).first()
    return moment is not None


def by_folder(session: Session, folder: str) -> BaseModel | None:
    return session.scalars(select(BaseModel).where(BaseModel.folder == folder).limit(1)).first()


def unclaimed(session: Session, status: BaseModelStatus, working: BaseModelStatus) -> Sequence[str]:
    """Ids that wait for a worker: in `status`, or left in `working` by one that died."""
    return session.scalars(
        select(BaseModel.id).where(
            BaseModel.status.in_([status, working]),
            or_(
                BaseModel.lease_expires_at.is_(None),
                BaseModel.lease_expires_at < database_epoch(),
            ),
        )
    ).all()


def add(session: Session, model: BaseModel) -> None:
    session.add(model)
    session.flush()


def remove(session: Session, model: BaseModel) -> None:
    session.delete(model)
    session.flush()


def put_secret(session: Session, name: str, ciphertext: str) -> None:
    session.merge(StoredSecret(name=name, ciphertext=ciphertext))
    session.flush()


def delete_secret(session: Session, name: str) -> None:
    session.execute(delete(StoredSecret).where(StoredSecret.name == name))


def secret_ciphertext(session: Session, name: str) -> str | None:
    return session.scalars(select(StoredSecret.ciphertext).where(StoredSecret.name == name)).first()


def has_secret(session: Session, name: str) -> bool:
    count = session.scalar(
        select(func.count()).select_from(StoredSecret).where(StoredSecret.name == name)
    )
    return bool(count)
