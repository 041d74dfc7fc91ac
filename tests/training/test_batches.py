"""All of the data in each epoch, the same order for the same seed, little filling."""

import numpy as np
import pytest

from worker.training.batches import divide, plan_epoch


def lengths(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(1).integers(5, 300, count)


@pytest.mark.parametrize("count", [1, 3, 4, 61, 500])
def test_each_epoch_covers_all_examples_once(count: int) -> None:
    for epoch in range(3):
        updates = plan_epoch(lengths(count), 42, epoch, 4)
        assert sorted(int(row) for update in updates for row in update) == list(range(count))
        assert len(updates) == -(-count // 4)
        assert all(len(update) == 4 for update in updates[: count // 4])


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [update.tolist() for update in plan_epoch(lengths(100), seed, epoch, 8)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_examples_of_like_length_stand_together() -> None:
    sizes = lengths(800)

    def filled(updates: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> int:
        return sum(int(sizes[update].max()) * len(update) for update in updates)

    shuffled = np.random.default_rng(2).permutation(800)
    assert filled(plan_epoch(sizes, 1, 0, 8)) < 0.7 * filled(np.split(shuffled, 100))


def test_micro_batches_keep_to_the_budget_and_hold_every_row() -> None:
    sizes = lengths(64)
    groups = divide(range(64), sizes, 1000)
    assert sorted(row for group in groups for row in group) == list(range(64))
    assert all(int(sizes[group].max()) * len(group) <= 1000 for group in groups)


def test_without_filling_micro_batches_are_few_and_alike() -> None:
    sizes = np.array([1000, 700, 600, 500, 400, 300, 200, 100])

    def tokens(most: int) -> list[int]:
        groups = divide(range(8), sizes, most, fills=False)
        assert sorted(row for group in groups for row in group) == list(range(8))
        return sorted(int(sizes[group].sum()) for group in groups)

    assert tokens(4000) == [3800]
    assert tokens(3000) == [1700, 2100]  # Not 3000 and 800, which would need more memory.
    assert max(tokens(1500)) <= 1500


def test_a_row_longer_than_the_budget_goes_alone() -> None:
    assert sorted(divide([0, 1, 2], np.array([10, 900, 12]), 100)) == [[1], [2, 0]]
