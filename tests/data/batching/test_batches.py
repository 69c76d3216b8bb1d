import jax
import numpy as np
import pytest

from research.data import Batches, Images, IndexedBatch, evaluation_batches, gather
from research.data.batching import batches
from research.data.storage import records
from research.errors import UsageError

SIZE, BATCH = 23, 7


class Counted:
    """A source of numbered examples that counts how many it decoded."""

    def __init__(self, size=SIZE):
        self.size, self.decoded = size, 0

    def __len__(self):
        return self.size

    def __getitems__(self, keys):
        self.decoded += len(keys)
        return [{"image": np.full((2, 3, 1), key, np.uint8), "label": key, "unused": "text"} for key in keys]


def numbered(size=SIZE):
    spec = {"image": jax.ShapeDtypeStruct((2, 3, 1), np.uint8), "label": jax.ShapeDtypeStruct((), np.int32)}
    return records.Records(Counted(size), spec)


def reference(seed, step, batch_size, size):
    """Walk through the epochs one example at a time."""
    stream = []
    for epoch in range((step + 1) * batch_size // size + 1):
        stream += np.random.default_rng((seed, epoch)).permutation(size).tolist()
    return stream[step * batch_size : (step + 1) * batch_size]


@pytest.mark.parametrize("residency", ["ram", "device", "stream"])
def test_batches_equal_the_reference_in_order_and_after_jumps(residency):
    feed = Batches(numbered(), BATCH, seed=4, residency=residency)
    for step in [*range(12), 40, 41, 3, 3, 2, 1000, 0, 1]:
        expected = reference(4, step, BATCH, SIZE)
        batch = jax.tree.map(np.asarray, feed.batch_at(step))
        assert set(batch) == {"image", "label"}
        np.testing.assert_array_equal(batch["label"], expected)
        np.testing.assert_array_equal(
            batch["image"], np.broadcast_to(np.reshape(expected, (-1, 1, 1, 1)), (BATCH, 2, 3, 1))
        )
        assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
    feed.close()
    np.testing.assert_array_equal(feed.batch_at(5)["label"], reference(4, 5, BATCH, SIZE))
    feed.close()


def test_all_residencies_agree_on_digits(data_dir):
    train = Images().open("train", data_dir)
    size = len(train)
    feeds = [Batches(train, 200, seed=1, residency=residency) for residency in ("stream", "device", "ram")]
    for step in [0, 1, 6, 7, 500]:  # the epoch ends within batch 6
        first, *others = (jax.tree.map(np.asarray, gather(feed.input_at(step))) for feed in feeds)
        for other in others:
            np.testing.assert_array_equal(first["image"], other["image"])
            np.testing.assert_array_equal(first["label"], other["label"])
        np.testing.assert_array_equal(first["label"], train.arrays()["label"][reference(1, step, 200, size)])
    for feed in feeds:
        feed.close()


@pytest.mark.parametrize("residency", ["ram", "device", "stream"])
@pytest.mark.parametrize("count", [2, 3])
def test_the_rows_of_all_processes_are_the_global_batch(residency, count):
    each = 6 // count
    rows = [slice(index * each, (index + 1) * each) for index in range(count)]
    shards = [Batches(numbered(), 6, 0, residency, part) for part in rows]
    whole = Batches(numbered(), 6, 0)
    for step in (0, 1, 5):
        labels = np.concatenate([shard.batch_at(step)["label"] for shard in shards])
        np.testing.assert_array_equal(labels, whole.batch_at(step)["label"])
    for shard in shards:
        shard.close()


def test_only_row_numbers_travel_to_a_split_on_the_device():
    split = numbered()
    first, second = (Batches(split, BATCH, seed, "device") for seed in (0, 1))
    rows = first.input_at(0)
    assert isinstance(rows, IndexedBatch) and rows.indices.shape == (BATCH,)
    assert first.input_at(9).arrays["image"] is rows.arrays["image"] is second.input_at(0).arrays["image"]
    compiled = jax.jit(gather)
    np.testing.assert_array_equal(compiled(first.input_at(3))["label"], first.batch_at(3)["label"])
    np.testing.assert_array_equal(gather({"label": 1})["label"], 1)


def test_a_split_is_decoded_once_in_memory_and_never_before_it_is_needed():
    split = numbered()
    feed = Batches(split, BATCH, 0, "ram")
    assert split._source.decoded == 0
    for step in range(9):
        feed.batch_at(step)
    assert split._source.decoded == SIZE


def test_streaming_holds_no_split_and_reads_ahead_in_order():
    split = numbered()
    feed = Batches(split, BATCH, 0, "stream")
    for step in range(20):
        feed.batch_at(step)
    feed.close()
    assert split._arrays is None
    assert split._source.decoded <= (20 + 8) * BATCH  # each step once, and some read ahead: no restart at every step


def test_auto_takes_the_fastest_place_that_is_large_enough(monkeypatch):
    assert Batches(numbered(), 1, 0).residency == "device"
    monkeypatch.setattr(batches, "DEVICE_BYTES", 10 * SIZE - 1)  # an example is 6 pixels and a label of 4 bytes
    assert Batches(numbered(), 1, 0).residency == "ram"
    monkeypatch.setattr(batches, "RAM_BYTES", 10 * SIZE - 1)
    assert Batches(numbered(), 1, 0).residency == "stream"


def test_an_empty_split_is_refused():
    with pytest.raises(UsageError, match="no examples"):
        Batches(numbered(0), 7, 0)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 64])
def test_evaluation_sees_each_example_once_in_order(batch_size, in_memory, monkeypatch):
    for name in () if in_memory else ("DEVICE_BYTES", "RAM_BYTES"):
        monkeypatch.setattr(batches, name, 0)
    split = numbered()
    seen = list(evaluation_batches(split, batch_size))
    assert all(batch["label"].shape == batch["mask"].shape == (batch_size,) for batch in seen)
    labels = np.concatenate([batch["label"][batch["mask"]] for batch in seen])
    np.testing.assert_array_equal(labels, np.arange(SIZE))
    padding = np.concatenate([batch["label"][~batch["mask"]] for batch in seen])
    np.testing.assert_array_equal(padding, np.zeros(-SIZE % batch_size))
    assert (split._arrays is not None) == in_memory


def test_evaluation_by_three_processes_covers_each_example_once():
    shards = [list(evaluation_batches(numbered(), 6, slice(2 * index, 2 * index + 2))) for index in range(3)]
    assert {len(shard) for shard in shards} == {4}
    labels = np.concatenate([batch["label"][batch["mask"]] for parts in zip(*shards, strict=True) for batch in parts])
    np.testing.assert_array_equal(labels, np.arange(SIZE))
    rows = [batch["row"] for parts in zip(*shards, strict=True) for batch in parts]
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(24))


def test_a_part_is_a_split_of_its_own():
    split, source = numbered(), np.arange(SIZE)
    inner = records.Records(records.Part(records.Part(Counted(SIZE), 5, 20), 2, 9), split.spec)
    np.testing.assert_array_equal(inner.arrays()["label"], source[5:20][2:9])
    np.testing.assert_array_equal(inner[np.array([6, 0])]["label"], [13, 7])
    for index in (-1, 7):
        with pytest.raises(IndexError, match="7 examples"):
            inner[np.array([index])]
