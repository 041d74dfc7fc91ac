"""A project with versions, whose pages talk to a really running chat server."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.adapters.tables import Adapter
from app.base_models.tables import BaseModel, BaseModelStatus
from app.chat.engine import Question
from app.chat.replies import ReplyKey, ReplyPlan
from app.chat.tables import ChatTurn, Conversation
from app.database.session import transaction
from app.projects.tables import Project
from app.runs.status import RunStatus
from app.runs.tables import Run
from tests.support.inference import InferenceServer
from tests.support.web import Web


@dataclass(frozen=True)
class ChatWeb:
    """The pages, the chat server behind them, and a project with two versions."""

    web: Web
    server: InferenceServer
    project: Project

    @property
    def url(self) -> str:
        return f"/projects/{self.project.id}/chat"

    def use_base_model(self, base_model_id: str) -> None:
        """Let the project have no version, and a base model of its own."""
        with self.web.transaction() as session:
            row = BaseModel(
                id=base_model_id,
                source="folder",
                name=base_model_id.title(),
                status=BaseModelStatus.READY,
            )
            session.add(row)
            project = session.get(Project, self.project.id)
            assert project is not None
            project.base_model_id = base_model_id


def add_version_row(
    session: Session, project: Project, run_id: str, number: int, sha256: str
) -> None:
    session.add(
        Run(
            id=run_id,
            project_id=project.id,
            version_number=number,
            base_model_id="starter",
            status=RunStatus.SUCCEEDED,
            recipe={},
            snapshot_sha256="",
            train_count=4,
            validation_count=0,
        )
    )
    session.flush()
    session.add(
        Adapter(
            run_id=run_id,
            project_id=project.id,
            version_number=number,
            base_model_id="starter",
            sha256=sha256,
            size_bytes=1,
        )
    )


def conversation_with_one_question(engine: Engine) -> tuple[str, str]:
    """Return the conversation's id and the question's."""
    with transaction(engine) as session:
        project = Project(name="A project")
        user = User(email="a@example.org", name="A", password_hash="-")
        session.add_all([project, user])
        session.flush()
        conversation = Conversation(project_id=project.id, user_id=user.id)
        session.add(conversation)
        session.flush()
        turn = ChatTurn(conversation_id=conversation.id, position=1, question="Hello?")
        session.add(turn)
        session.flush()
        return conversation.id, turn.id


def plan_of_an_answer(conversation_id: str, turn_id: str) -> ReplyPlan:
    """The base model's first answer to a question."""
    return ReplyPlan(
        key=ReplyKey(turn_id, "base"),
        conversation_id=conversation_id,
        attempt=1,
        question=Question(model="starter", messages=[], temperature=0.0, max_tokens=16),
        model_name="Tailor Starter",
    )
