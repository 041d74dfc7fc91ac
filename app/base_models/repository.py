"""The queries about base models."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel, BaseModelStatus


def get(session: Session, base_model_id: str) -> BaseModel | None:
    return session.get(BaseModel, base_model_id)


def all_models(session: Session) -> Sequence[BaseModel]:
    return session.scalars(select(BaseModel).order_by(BaseModel.created_at)).all()


def ready_models(session: Session) -> Sequence[BaseModel]:
    return session.scalars(
        select(BaseModel)
        .where(BaseModel.status == BaseModelStatus.READY)
        .order_by(BaseModel.created_at)
    ).all()


def add(session: Session, model: BaseModel) -> None:
    session.add(model)
    session.flush()
