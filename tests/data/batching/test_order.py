import functools

import numpy as np
import pytest

from research.data import Bucketed, Sequences, Uniform, indices_at
from research.data.batching.order import epoch_order, taken
from research.errors import UsageError
from research.experiment import Experiment, difference, fingerprint, from_json, replace, to_json
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification


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


BOUNDARIES = (3, 6, 10)
LENGTHS = np.random.default_rng(0).integers(1, 15, 103).astype(np.int32)


def bucketed(seed, steps, batch_size, lengths=LENGTHS):
    """The steps of a bucketed order one after the other, [steps, batch_size]."""
    order = functools.partial(epoch_order, Bucketed(BOUNDARIES), seed, batch_size=batch_size, lengths=lengths)
    return np.stack([taken(order, step, batch_size, len(lengths)) for step in range(steps)])


@pytest.mark.parametrize("batch_size", [1, 7, 103, 250])
def test_a_bucketed_epoch_has_each_example_once(batch_size):
    """Batches of 7 straddle the epochs, those of 250 hold more than two."""
    epochs = bucketed(3, 4 * 103, batch_size).ravel()[: 4 * 103].reshape(4, 103)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(103), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert not np.array_equal(bucketed(3, 9, batch_size), bucketed(4, 9, batch_size))


def test_the_batch_of_two_epochs_is_as_drawn():
    """Of 103 examples 14 batches of 7 are whole; 5 begin the one that 2 of the next epoch complete."""
    by_hand = np.concatenate([np.random.default_rng((5, epoch)).permutation(103) for epoch in range(3)])
    found = bucketed(5, 45, 7)
    for step in (14, 29, 44):  # the 103rd, 206th and 309th example are in these
        np.testing.assert_array_equal(found[step][: len(by_hand[7 * step : 7 * step + 7])], by_hand[7 * step :][:7])
    np.testing.assert_array_equal(np.sort(found[:14], axis=None), np.sort(by_hand[:98]))
    assert not np.array_equal(found[:14].ravel(), by_hand[:98])


def test_whole_batches_are_of_one_bucket_and_in_any_order():
    """Sorting leaves at most one batch of two buckets for each boundary."""
    buckets = np.searchsorted(BOUNDARIES, LENGTHS[bucketed(1, 14, 7)])  # [steps, batch_size]
    alike = buckets.min(axis=1) == buckets.max(axis=1)
    assert alike.sum() >= 14 - len(BOUNDARIES)
    first = buckets[:, 0].tolist()
    assert first != sorted(first) and first != sorted(first, reverse=True)


def test_the_padding_is_less():
    order = Bucketed(BOUNDARIES)
    cut = sum(order.steps(int(LENGTHS[batch].max()), 14) for batch in bucketed(1, 14, 7))
    assert cut < 0.75 * 14 * 14
    assert [order.steps(longest, 14) for longest in (1, 3, 4, 6, 10, 11, 14)] == [3, 3, 6, 6, 10, 14, 14]


def test_an_order_is_part_of_the_value_and_the_uniform_one_is_as_no_order():
    plain = Experiment(CNN(), Classification(), Sequences(), Optimizer(), steps=3, batch_size=5)
    assert fingerprint(replace(plain, {"data.order": Uniform()})) == fingerprint(plain)
    one, other = (replace(plain, {"data.order": Bucketed(boundaries)}) for boundaries in ((7,), (7, 9)))
    assert len({fingerprint(value) for value in (plain, one, other)}) == 3
    assert from_json(to_json(other)) == other and difference(one, plain) == ["data.order"]
    assert replace(one, {"data.order.boundaries": (7, 9)}) == other
    before = to_json(plain).replace('"order": {\n      "class": "Uniform"\n    },', "")
    assert '"order"' not in before and from_json(before) == plain
    with pytest.raises(UsageError, match=r"data\.order\.boundaries\.0 must be at least 1, not 0"):
        replace(one, {"data.order.boundaries": (0, 9)})
