"""A Tailor whose processes can be killed at named places, and which is kept running."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from app.adapters.tables import Adapter
from app.database.session import transaction
from app.runs.objectives import Objective
from app.runs.repository import metrics, shown_samples
from app.runs.result_files import weights_sha256
from app.runs.status import RunStatus
from app.runs.watching.repository import events_after
from tests.support import places
from tests.support.deployments import Deployment, deployed
from tests.support.marked_places import TIDYING
from tests.support.places import Kill
from tests.support.runs import get_run
from tests.support.tiny_projects import (
    FEW_EPOCHS,
    Subject,
    add_tiny_base,
    add_tiny_project,
    queue_tiny_run,
)
from tests.support.waiting import wait_until
from tests.support.workers import CeleryWorker

_SECONDS: Final = 240
_SECONDS_TO_TIDY_UP: Final = 60


@dataclass
class KillableTailor:
    """A deployment that is kept running, with a project for an objective."""

    deployment: Deployment
    project_id: str
    worker: CeleryWorker = field(init=False)

    def __post_init__(self) -> None:
        self.worker = self.deployment.worker()

    def folder(self, run_id: str) -> Path:
        return self.deployment.storage.path("runs", run_id)

    def train(self, subject: Subject, kills: Sequence[Kill] = (), epochs: int = FEW_EPOCHS) -> str:
        """Train to the end, whoever is killed on the way."""
        run_id = queue_tiny_run(
            self.deployment.engine,
            self.deployment.storage,
            self.project_id,
            subject,
            lambda folder: places.order(folder, kills),
            epochs,
        )
        wait_until(
            lambda: self._is_over(run_id),
            timeout=_SECONDS,
            what=lambda: f"the end of a run of {subject} with {kills}; {self.deployment.logs()}",
        )
        # The run is over for everyone before its worker has tidied up, where the last kill may be.
        wait_until(
            lambda: len(places.done(self.folder(run_id))) == len(kills),
            timeout=_SECONDS_TO_TIDY_UP,
            what=lambda: f"{kills}; {places.done(self.folder(run_id))} happened",
        )
        return run_id

    def stays(self, run_id: str) -> list[tuple[str, int, float]]:
        """Return all of a run whom nobody killed, the last one after its end included."""

        def all_of_them() -> list[tuple[str, int, float]]:
            seen = places.seen(self.folder(run_id))
            return seen if any(place == TIDYING for place, _, _ in seen) else []

        return wait_until(all_of_them, timeout=_SECONDS_TO_TIDY_UP, what=f"the stay at {TIDYING}")

    def _is_over(self, run_id: str) -> bool:
        if not self.worker.is_alive:
            self.worker = self.deployment.worker()
        return get_run(self.deployment.engine, run_id).finished_at is not None

    def shown(self, run_id: str) -> object:
        """Return what the run's page shows for good: its curves and its last sample answers."""
        with transaction(self.deployment.engine, read_only=True) as session:
            curves = metrics(session, run_id, ["train_loss", "validation_loss"])
            samples = shown_samples(session, run_id, None)
            return curves, [(sample.step, sample.position, sample.answer) for sample in samples]

    def weights_of_the_only_end(self, run_id: str) -> str:
        """Return the SHA-256 of a run's weights; it must have succeeded once and not ended else."""
        run = get_run(self.deployment.engine, run_id)
        assert run.status == RunStatus.SUCCEEDED, (run.failure, self.deployment.logs())
        with transaction(self.deployment.engine, read_only=True) as session:
            events = events_after(session, run_id, 0, 100_000)
            version = session.get_one(Adapter, run_id)
        said = Counter(event.payload["status"] for event in events if event.kind == "status")
        assert said[RunStatus.SUCCEEDED] == 1
        assert not said[RunStatus.FAILED]
        assert not said[RunStatus.CANCELLED]
        on_the_disk = weights_sha256(self.folder(run_id) / "adapter")
        assert run.result is not None
        assert version.sha256 == run.result["adapter_sha256"] == on_the_disk
        return on_the_disk


@contextmanager
def killable_tailor(
    broker: str,
    objective: Objective,
    tiny_base: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[KillableTailor]:
    """One on a broker, with a project that learns this from a tiny base model."""
    module = "tests.support.killable_worker"
    with deployed(broker, folder, monkeypatch, module) as deployment:
        with transaction(deployment.engine) as session:
            add_tiny_base(session, tiny_base)
            project_id = add_tiny_project(session, objective).id
        yield KillableTailor(deployment, project_id)
