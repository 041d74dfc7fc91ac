"""The jobs that messages name. Thin: each finds its tools and calls the function that does it.

A message is a hint and may come twice, late, or for something that is gone; what these functions
do is decided by the rows in the database.
"""

from app.base_models.checking import check_base_model
from app.base_models.fetching import fetch_base_model
from app.database.engine import get_engine
from app.datasets.importing import inspect_import, run_import
from app.jobs import (
    CHECK_BASE_MODEL,
    EXECUTE_RUN,
    FETCH_BASE_MODEL,
    IMPORT_EXAMPLES,
    INSPECT_IMPORT,
    celery_app,
)
from app.runs.holding import owner_name
from app.settings import get_settings
from app.storage.folders import get_storage
from worker.lifeline import lifeline
from worker.run_queue import execute_waiting_runs
from worker.spare import spares


def _execute_runs(run_id: str) -> None:  # noqa: ARG001 (the queue's order decides)
    line = lifeline()
    with line.heeding_sigterm():
        execute_waiting_runs(
            get_engine(), get_storage(), get_settings(), line.stop_requested, spares=spares()
        )


def _inspect_import(import_id: str) -> None:
    inspect_import(get_engine(), get_storage(), import_id, owner_name())


def _import_examples(import_id: str) -> None:
    run_import(get_engine(), get_storage(), import_id, owner_name())


def _fetch_base_model(base_model_id: str) -> None:
    fetch_base_model(get_engine(), get_storage(), base_model_id, owner_name())


def _check_base_model(base_model_id: str) -> None:
    check_base_model(get_engine(), get_storage(), base_model_id, owner_name())


def register_tasks() -> None:
    """Tell Celery which function each job's name means."""
    application = celery_app()
    for name, function in (
        (EXECUTE_RUN, _execute_runs),
        (INSPECT_IMPORT, _inspect_import),
        (IMPORT_EXAMPLES, _import_examples),
        (FETCH_BASE_MODEL, _fetch_base_model),
        (CHECK_BASE_MODEL, _check_base_model),
    ):
        application.task(function, name=name)
