"""A run's view is shared by all who look at it, so it must not be older than what it stands for."""

from sqlalchemy import Engine

from app.database.session import new_session, transaction
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run
from app.runs.watching.repository import run_states
from app.storage.folders import Storage
from app.web.run_views import RunViews
from tests.support.runs import project_with_examples, queue_run


def test_a_run_that_ends_while_its_page_is_made_is_not_shown_as_learning_for_ever(
    engine: Engine, storage: Storage
) -> None:
    with transaction(engine) as session:
        project_id = project_with_examples(session, storage).id
    run_id = queue_run(engine, storage, project_id)
    views = RunViews()
    with new_session(engine, read_only=True) as session:
        seen = session.get_one(Run, run_id)
        _end(engine, run_id)
        (state,) = run_states(session, [run_id])
        views.view(session, state, None, may_edit=True)
        assert seen.id == run_id
    with new_session(engine, read_only=True) as session:
        (state,) = run_states(session, [run_id])
        view = views.view(session, state, None, may_edit=True)
    assert "Stopped" in view
    assert "Waiting for its turn" not in view


def _end(engine: Engine, run_id: str) -> None:
    with transaction(engine) as session:
        run = lock(session, run_id)
        assert run is not None
        run.status = RunStatus.CANCELLED
