"""Who is asked: the base model of a conversation, and a version of it if there is one."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel, BaseModelStatus
from app.chat import repository
from app.chat.tables import Conversation
from app.chat.views import Label, Labels
from app.runs.objectives import OBJECTIVES
from app.runs.recipe_facts import objective_of


@dataclass(frozen=True)
class Models:
    """Who is asked: the base model, and a version of it if there is one."""

    base: BaseModel
    adapter: Adapter | None
    sorts: bool = False
    """Whether the version sorts texts; then nobody answers beside it."""

    @property
    def version_name(self) -> str:
        return f"Version {self.adapter.version_number}" if self.adapter else ""

    def labels(self) -> Labels:
        base = Label(self.base.name, self.base.id)
        if self.adapter is None:
            return {"base": base}
        tuned = Label(self.version_name, self.adapter.run_id, self.adapter.sha256)
        return {"tuned": tuned} if self.sorts else {"base": base, "tuned": tuned}


def models_for(session: Session, project_id: str, run_id: str | None) -> Models | None:
    """Return who would be asked, or None if the project has nothing to ask yet."""
    adapter = repository.version(session, project_id, run_id) if run_id else None
    if adapter is None:
        base = repository.chosen_base_model(session, project_id)
    else:
        base = repository.base_model(session, adapter.base_model_id)
    return _usable(session, base, adapter)


def models_of(session: Session, conversation: Conversation) -> Models | None:
    """Return who is asked in a conversation, or None if its model is not there any more."""
    run_id = conversation.adapter_run_id
    adapter = repository.version(session, conversation.project_id, run_id) if run_id else None
    base_model_id = conversation.base_model_id
    base = repository.base_model(session, base_model_id) if base_model_id else None
    return _usable(session, base, adapter)


def _usable(session: Session, base: BaseModel | None, adapter: Adapter | None) -> Models | None:
    if base is None or (adapter is None and base.status != BaseModelStatus.READY):
        return None
    run = repository.run_of(session, adapter.run_id) if adapter else None
    return Models(base, adapter, run is not None and OBJECTIVES[objective_of(run)].sorts)
