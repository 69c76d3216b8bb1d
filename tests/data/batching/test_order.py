import numpy as np
import pytest

from research.data import indices_at


def positions(seed, steps, batch_size, size):
    return np.concatenate([indices_at(seed, step, batch_size, size) for step in range(steps)])


@pytest.mark.parametrize("batch_size", [1, 7, 19, 53])
def test_every_epoch_is_a_permutation_and_no_two_are_alike(batch_size):
    size = 19
    epochs = positions(3, 4 * size, batch_size, size)[: 4 * size].reshape(4, size)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(size), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_the_permutation_of_the_seed_and_epoch():
    by_hand = np.concatenate([np.random.default_rng((5, epoch)).permutation(11) for epoch in range(3)])
    np.testing.assert_array_equal(positions(5, 8, 4, 11), by_hand[:32])


def test_another_seed_is_another_order():
    assert not np.array_equal(indices_at(0, 0, 50, 50), indices_at(1, 0, 50, 50))


def test_a_batch_may_be_larger_than_the_split():
    counts = np.bincount(indices_at(0, 1, 35, 7), minlength=7)
    np.testing.assert_array_equal(counts, [5] * 7)


def test_the_order_does_not_depend_on_the_batch_size():
    np.testing.assert_array_equal(positions(2, 6, 5, 13), positions(2, 5, 6, 13))
    assert indices_at(2, 10**7, 5, 13).shape == (5,)


def test_changing_a_batch_in_place_does_not_change_the_order():
    before = indices_at(9, 0, 13, 13).copy()
    indices_at(9, 0, 13, 13)[:] = 0
    np.testing.assert_array_equal(indices_at(9, 0, 13, 13), before)
