"""What a training process asks of its surroundings."""

import os

import pytest

from app.runs.costs.batching import most_lanes
from worker.training.process import forget_old_shapes


@pytest.mark.parametrize(
    ("said", "threads"),
    [
        ("1", 1),
        ("3", 3),
        # A number for each level of nesting, the outermost first.
        ("4,2", 4),
        (" 2 ", 2),
        ("", os.cpu_count() or 1),
        ("as many as there are", os.cpu_count() or 1),
    ],
)
def test_products_are_remembered_for_each_lane(
    said: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    surroundings = {"OMP_NUM_THREADS": said}
    monkeypatch.setattr(os, "environ", surroundings)
    forget_old_shapes()
    of_all = max(128, 64 * most_lanes(threads))
    assert surroundings["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(of_all)
    assert surroundings["LRU_CACHE_CAPACITY"] == "64"


def test_who_runs_tailor_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}
    monkeypatch.setattr(os, "environ", surroundings)
    forget_old_shapes()
    assert surroundings["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
