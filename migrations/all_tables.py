"""Imports every table, for those who need the whole picture: migrations and their test."""

from app.accounts import tables as accounts_tables
from app.adapters import tables as adapters_tables
from app.audit import tables as audit_tables
from app.base_models import tables as base_models_tables
from app.chat import tables as chat_tables
from app.database.base import Base
from app.datasets import tables as datasets_tables
from app.projects import tables as projects_tables
from app.runs import tables as runs_tables
from app.runs.queue import tables as queue_tables
from app.workers import tables as workers_tables

METADATA = Base.metadata

__all__ = [
    "METADATA",
    "accounts_tables",
    "adapters_tables",
    "audit_tables",
    "base_models_tables",
    "chat_tables",
    "datasets_tables",
    "projects_tables",
    "queue_tables",
    "runs_tables",
    "workers_tables",
]
