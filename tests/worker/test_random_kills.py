"""Whatever is killed, wherever a training is, it ends exactly once and with the same weights.

Real workers on both brokers train tiny models by every method and for every objective. At places
and moments drawn at random the training process, the pool process, the main process or all of them
are killed; what is gone is started again, as `tailor up` or the machine would.

Ten kills in CI, of other methods every day; with TAILOR_TEST_KILLS=100 (make test-nightly) each
method meets at least two on each broker. TAILOR_TEST_KILL_SEED, which pytest prints first, draws
the same ones again.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Final

import pytest

from app.runs.methods import METHODS
from app.runs.objectives import OBJECTIVES
from tests.support import places
from tests.support.deployments import EMBEDDED, SERVICES
from tests.support.killable_tailor import KillableTailor, killable_tailor
from tests.support.marked_places import WITHOUT_TRAINING_PROCESS
from tests.support.places import Kill, Victim
from tests.support.tiny_models import make_tiny_model
from tests.support.tiny_projects import EVERY_SUBJECT, Subject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# A third loss in a row before anything more was saved would end the run, and would say so.
_KILLS_A_RUN: Final = 2
_KILLS: Final = int(os.environ.get("TAILOR_TEST_KILLS", "10"))
_SEED: Final = os.environ["TAILOR_TEST_KILL_SEED"]

Dealt = tuple[str, Subject, int]


def _deal() -> list[Dealt]:
    """Deal the runs evenly to brokers and subjects, beginning anywhere."""
    chance = random.Random(_SEED)  # noqa: S311 (kills need no cryptography)
    one, other = (chance.sample(EVERY_SUBJECT, len(EVERY_SUBJECT)) for _ in range(2))
    pairs = [
        pair
        for first, second in zip(one, other, strict=True)
        for pair in ((EMBEDDED, first), (SERVICES, second))
    ]
    runs = Counter(pairs[number % len(pairs)] for number in range(ceil(_KILLS / _KILLS_A_RUN)))
    return [(broker, subject, count) for (broker, subject), count in runs.items()]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def tailor(
    dealt: Dealt, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KillableTailor]:
    broker, subject, _ = dealt
    with killable_tailor(broker, subject.objective, tiny_base, tmp_path, monkeypatch) as tailor:
        yield tailor


def _draw_kills(chance: random.Random, stays: list[tuple[str, int, float]]) -> list[Kill]:
    """Draw places first, so that short ones come up as often as long ones, then the moments."""
    drawn = []
    for place in chance.sample(sorted({place for place, _, _ in stays}), _KILLS_A_RUN):
        _, entry, seconds = chance.choice([stay for stay in stays if stay[0] == place])
        victims = [victim for victim in Victim if victim is not Victim.TRAINING]
        victim = chance.choice(victims if place in WITHOUT_TRAINING_PROCESS else list(Victim))
        drawn.append(Kill(place, entry, chance.uniform(0.0, seconds), victim))
    return drawn


@pytest.mark.parametrize("dealt", _deal(), ids=lambda dealt: f"{dealt[0]}-{dealt[1]}")
def test_each_run_ends_exactly_once_with_the_weights_of_an_undisturbed_one(
    tailor: KillableTailor, dealt: Dealt
) -> None:
    broker, subject, runs = dealt
    undisturbed = tailor.train(subject, [])
    stays = tailor.stays(undisturbed)
    expected, shown = tailor.weights_of_the_only_end(undisturbed), tailor.shown(undisturbed)
    chance = random.Random(f"{_SEED} {broker} {subject}")  # noqa: S311 (as above)
    for _ in range(runs):
        kills = _draw_kills(chance, stays)
        run_id = tailor.train(subject, kills)
        happened = places.done(tailor.folder(run_id))
        for kill in happened:
            print(f"KILLED {broker} {subject}: the {kill.victim} while {kill.place}")  # noqa: T201
        assert sorted(map(str, happened)) == sorted(map(str, kills))
        assert tailor.weights_of_the_only_end(run_id) == expected
        assert tailor.shown(run_id) == shown


def test_every_method_and_every_objective_has_its_turn() -> None:
    assert {subject.method for subject in EVERY_SUBJECT} == set(METHODS)
    assert {subject.objective for subject in EVERY_SUBJECT} == set(OBJECTIVES)
