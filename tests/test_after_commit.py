"""What touches more than the database is done after the commit, or never."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.base_models import repository, service
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import after_commit
from app.storage.folders import Storage


def _write(session: Session) -> None:
    session.execute(text("SELECT 1"))


def test_it_is_done_once_and_after_the_commit(session: Session) -> None:
    done: list[str] = []
    _write(session)
    after_commit(session, lambda: done.append("a"))
    after_commit(session, lambda: done.append("b"))
    assert done == []
    session.commit()
    _write(session)
    session.commit()
    assert done == ["a", "b"]


def test_a_rollback_drops_it_for_good(session: Session) -> None:
    done: list[str] = []
    _write(session)
    after_commit(session, lambda: done.append("never"))
    session.rollback()
    _write(session)
    session.commit()
    assert done == []


def test_something_else_may_be_done_where_it_came_to_nothing(session: Session) -> None:
    done: list[str] = []
    _write(session)
    after_commit(session, lambda: done.append("a"), otherwise=lambda: done.append("not a"))
    session.commit()
    assert done == ["a"]
    _write(session)
    after_commit(session, lambda: done.append("b"), otherwise=lambda: done.append("not b"))
    session.rollback()
    _write(session)
    session.commit()
    assert done == ["a", "not b"]


def test_so_does_a_session_that_is_closed_without_a_commit(session: Session) -> None:
    done: list[str] = []
    _write(session)
    after_commit(session, lambda: done.append("never"))
    session.close()
    _write(session)
    session.commit()
    assert done == []


def test_the_end_of_a_savepoint_changes_nothing(session: Session) -> None:
    done: list[str] = []
    _write(session)
    after_commit(session, lambda: done.append("a"))
    with session.begin_nested():
        _write(session)
    session.begin_nested().rollback()
    assert done == []
    session.commit()
    assert done == ["a"]


def test_a_base_model_whose_deletion_came_to_nothing_keeps_its_files(
    session: Session, storage: Storage
) -> None:
    model = BaseModel(source="hub", hub_id="a/b", name="Ours", status=BaseModelStatus.READY)
    model.facts = {}
    repository.add(session, model)
    session.commit()
    weights = storage.folder("models", model.id) / "model.safetensors"
    weights.write_bytes(b"weights")
    service.delete(session, storage, model)
    session.rollback()
    service.find(session, model.id).name = "Still ours"
    session.commit()
    assert weights.read_bytes() == b"weights"
