"""The places at which the slow tests kill are there: a renamed function is noticed at once."""

import pytest

from tests.support.marked_places import IN_TRAINING, IN_WORKER, holder_of


@pytest.mark.parametrize(("owner", "name", "place"), [*IN_TRAINING, *IN_WORKER])
def test_each_place_is_a_function(owner: str, name: str, place: str) -> None:
    assert callable(getattr(holder_of(owner), name)), place
