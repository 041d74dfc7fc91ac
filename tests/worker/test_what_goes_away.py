"""People, examples and base models that go away while a run waits or is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.accounts import service as accounts
from app.accounts.tables import User
from app.database.session import transaction
from app.datasets.service import delete_some_of_project
from app.projects import service as projects
from app.projects.tables import Project, Role
from app.runs.errors import BaseModelGoneError
from app.runs.objectives import Objective
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.settings import get_settings
from app.storage.folders import Storage
from tests.support.runs import get_run, queue_run
from tests.support.tiny_models import make_tiny_model
from tests.support.tiny_projects import Subject, add_tiny_base, add_tiny_project, queue_tiny_run
from tests.support.waiting import wait_until
from tests.worker.test_supervisor import Worker, adapter_of, execute, trained_weights
from worker.run_queue import execute_waiting_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def owner(engine: Engine, project_id: str) -> User:
    """The owner of the project; there is another owner and administrator beside her."""
    with transaction(engine) as session:
        other = User(email="other@example.org", name="Other", password_hash="-", is_admin=True)
        session.add(other)
        session.flush()
        project = session.get_one(Project, project_id)
        projects.add_member(session, project, other.email, Role.OWNER)
        (owner,) = (
            user for _, user in projects.members_of(session, project) if user.id != other.id
        )
        return owner


def _switched_off(session: Session, _project: Project, person: User) -> None:
    accounts.set_active(session, person.id, is_active=False)


def _removed(session: Session, project: Project, person: User) -> None:
    projects.remove_member(session, project, person.id)


def _deleted(session: Session, _project: Project, person: User) -> None:
    session.delete(session.get_one(User, person.id))


PersonGoes = Callable[[Session, Project, User], None]


@pytest.mark.parametrize("goes", [_switched_off, _removed, _deleted])
@pytest.mark.parametrize("moment", ["waits", "is trained"])
def test_a_training_belongs_to_its_project_and_outlives_whoever_asked_for_it(
    engine: Engine,
    storage: Storage,
    project_id: str,
    owner: User,
    goes: PersonGoes,
    moment: str,
) -> None:
    unbroken = queue_run(engine, storage, project_id)
    execute(engine, storage)
    run_id = queue_run(engine, storage, project_id, {"step_seconds": 0.1})
    with transaction(engine) as session:
        session.get_one(Run, run_id).requested_by_id = owner.id

    def go() -> None:
        with transaction(engine) as session:
            goes(session, session.get_one(Project, project_id), owner)

    if moment == "waits":
        go()
    with Worker(engine, storage) as worker:
        if moment == "is trained":
            wait_until(lambda: get_run(engine, run_id).step > 2, timeout=60, what="a few steps")
            go()
        worker.join()
    run = get_run(engine, run_id)
    assert (run.status, run.attempts) == (RunStatus.SUCCEEDED, 1), run.failure
    assert adapter_of(engine, run_id) is not None
    assert trained_weights(storage, run_id) == trained_weights(storage, unbroken)


@pytest.fixture
def tiny_base(tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "base")


@pytest.fixture
def tiny_project(engine: Engine, tiny_base: Path, hints: Path) -> str:  # noqa: ARG001
    with transaction(engine) as session:
        add_tiny_base(session, tiny_base)
        return add_tiny_project(session, Objective.ANSWERS).id


def train_for_real(engine: Engine, storage: Storage) -> None:
    execute_waiting_runs(engine, storage, get_settings(), lambda: False)


@pytest.mark.one_database
def test_a_base_model_that_vanished_while_a_run_waited_is_named(
    engine: Engine, storage: Storage, tiny_project: str, tiny_base: Path
) -> None:
    run_id = queue_tiny_run(engine, storage, tiny_project, Subject())
    tiny_base.rename(tiny_base.with_name("elsewhere"))
    train_for_real(engine, storage)
    run = get_run(engine, run_id)
    assert (run.status, run.attempts) == (RunStatus.FAILED, 1)
    assert run.failure is not None
    assert (run.failure["code"], run.failure["permanent"]) == ("base_model_missing", True)
    assert "Tiny Model" in run.failure["reason"]
    with pytest.raises(BaseModelGoneError):
        queue_tiny_run(engine, storage, tiny_project, Subject())


@pytest.mark.one_database
def test_examples_that_were_deleted_while_a_run_waited_are_learned_from_its_own_copy(
    engine: Engine, storage: Storage, tiny_project: str
) -> None:
    unbroken, run_id = (queue_tiny_run(engine, storage, tiny_project, Subject()) for _ in range(2))
    with transaction(engine) as session:
        assert delete_some_of_project(session, tiny_project) > 0
    train_for_real(engine, storage)
    assert get_run(engine, run_id).status == RunStatus.SUCCEEDED
    assert trained_weights(storage, run_id) == trained_weights(storage, unbroken)
