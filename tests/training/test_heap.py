"""A training process takes no more from the machine for having seen many lengths of examples."""

import os
import subprocess
import sys

import pytest

from tests.support.run_folders import REPOSITORY

_MEGABYTE = 1024**2
_MANY_LENGTHS = """
from worker.training.process import forget_old_shapes, keep_memory, share_the_processor
share_the_processor(); forget_old_shapes(); keep_memory()
from worker.device_memory import resident_bytes
from worker.device_trial.probes import Built, Probe
built = Built(Probe(128, 4, 4, 256, 2, 4, 64), 2)
built.go_through(4, 64)
built.go_through(4, 64)
for _ in range(2):
    begin = resident_bytes()
    for length in range(24, 64):
        built.go_through(4, length)
    print(resident_bytes() - begin)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "most_megabytes"), [(1, 60), (2, 110)])
def test_it_does_not_grow_with_the_lengths_that_it_has_seen(
    threads: int, most_megabytes: int
) -> None:
    output = subprocess.run(
        [sys.executable, "-c", _MANY_LENGTHS],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    ).stdout
    first, second = map(int, output.split())
    # So many products are remembered, and then that is all.
    assert first < most_megabytes * _MEGABYTE
    assert second < 5 * _MEGABYTE
