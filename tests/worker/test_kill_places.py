"""Kills at the places where most could go wrong: between a file and its row, around the commit."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runs.objectives import Objective
from tests.support import places
from tests.support.deployments import EMBEDDED
from tests.support.killable_tailor import KillableTailor, killable_tailor
from tests.support.marked_places import TIDYING
from tests.support.places import AT_ITS_END, Kill, Victim
from tests.support.runs import get_run
from tests.support.tiny_models import make_tiny_model
from tests.support.tiny_projects import Subject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def tailor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KillableTailor]:
    base = make_tiny_model(tmp_path / "base")
    with killable_tailor(EMBEDDED, Objective.ANSWERS, base, tmp_path, monkeypatch) as tailor:
        yield tailor


def resumed_from_step(tailor: KillableTailor, run_id: str) -> int:
    plan = get_run(tailor.deployment.engine, run_id).plan
    assert plan is not None
    return int(plan["resumed_from_step"])


def test_between_a_file_and_its_row_nothing_is_lost(tailor: KillableTailor) -> None:
    subject = Subject()
    expected = tailor.weights_of_the_only_end(tailor.train(subject))
    cases = [
        # The checkpoint has its name, and nobody has heard of it.
        Kill("saving a checkpoint", 2, AT_ITS_END, Victim.ALL),
        # The adapter has its name, and the transaction that makes it a version is open.
        Kill("making it a version", 1, AT_ITS_END, Victim.POOL),
        # The version is there, and its worker has not tidied up.
        Kill(TIDYING, 1, 0.0, Victim.POOL),
        Kill("having claimed the run", 1, 0.0, Victim.MAIN),
    ]
    for kill in cases:
        run_id = tailor.train(subject, [kill])
        assert places.done(tailor.folder(run_id)) == [kill]
        assert tailor.weights_of_the_only_end(run_id) == expected
        if kill.place == "saving a checkpoint":
            assert resumed_from_step(tailor, run_id) > 0


def test_a_worker_that_is_updated_while_its_training_saves_loses_nothing(
    tailor: KillableTailor,
) -> None:
    # So many that the training is not over before it hears that it is to stop.
    epochs = 30
    expected = tailor.weights_of_the_only_end(tailor.train(Subject(), epochs=epochs))
    kill = Kill("saving a checkpoint", 3, 0.0, Victim.MAIN, signal.SIGTERM)
    run_id = tailor.train(Subject(), [kill], epochs)
    assert places.done(tailor.folder(run_id)) == [kill]
    assert tailor.weights_of_the_only_end(run_id) == expected
    assert resumed_from_step(tailor, run_id) > 0


def test_who_dies_with_the_main_process_gets_no_further(tailor: KillableTailor) -> None:
    """It dies a few milliseconds later, and would do what it could meanwhile: end the run."""
    place = "making it a version"
    kills = [Kill(place, 1, AT_ITS_END, Victim.MAIN), Kill(TIDYING, 1, AT_ITS_END, Victim.POOL)]
    run_id = tailor.train(Subject(), kills)
    assert places.done(tailor.folder(run_id)) == kills
    assert tailor.weights_of_the_only_end(run_id)
    assert resumed_from_step(tailor, run_id) > 0, "the first attempt ended the run"
    left = [stay for stay, _, _ in places.seen(tailor.folder(run_id)) if stay == place]
    assert len(left) == 1, "the first attempt left the place"
