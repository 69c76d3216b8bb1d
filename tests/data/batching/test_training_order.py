"""What a step takes of a split: the same examples, and as many steps of them, wherever the split is kept."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Batches, Bucketed, Data, Records, TrainingOrder, gather
from research.data.batching.training_order import full_steps

SIZE, BATCH, FULL, WRITTEN = 47, 6, 11, 5
BOUNDARIES = (2, 4, 8)
LENGTHS = np.random.default_rng(1).integers(1, FULL + 1, (2, SIZE)).min(axis=0).astype(np.int32)
WRITTEN_LENGTHS = 1 + np.arange(SIZE, dtype=np.int32) % WRITTEN


@dataclasses.dataclass(frozen=True)
class Translations(Data):
    """Two sides of differing lengths, steps past which are -1; features lie beside the tokens of the first one."""

    def spec(self):
        number = jax.ShapeDtypeStruct((), np.int32)
        return {
            "tokens": jax.ShapeDtypeStruct((FULL,), np.int32),
            "features": jax.ShapeDtypeStruct((FULL, 2), np.float32),
            "labels": jax.ShapeDtypeStruct((WRITTEN,), np.int32),
            **dict.fromkeys(("lengths", "label_lengths", "number"), number),
        }

    def lengths(self):
        return {"lengths": ("tokens", "features"), "label_lengths": ("labels",)}


class Source:
    """The examples by number, and how many were decoded."""

    decoded = 0

    def __len__(self):
        return SIZE

    def __getitems__(self, keys):
        self.decoded += len(keys)
        return [self.example(key) for key in keys]

    def example(self, key):
        inside, written = np.arange(FULL) < LENGTHS[key], np.arange(WRITTEN) < WRITTEN_LENGTHS[key]
        return {
            "tokens": np.where(inside, key, -1),
            "features": np.where(inside[:, None], [[key, -key]], np.nan),
            "labels": np.where(written, key, -1),
            "lengths": LENGTHS[key],
            "label_lengths": WRITTEN_LENGTHS[key],
            "number": key,
        }


DATA = Translations(order=Bucketed(BOUNDARIES))

gathered = jax.jit(gather)


def feed(residency, rows=slice(None)):
    return Batches(Records(Source(), DATA.spec()), BATCH, 9, residency, rows, data=DATA)


@pytest.mark.parametrize("residency", ["ram", "device", "stream"])
def test_a_batch_is_cut_to_the_smallest_boundary_that_holds_it(residency):
    batches, met = feed(residency), set()
    for step in [*range(16), 500, 3, 2, 1000]:
        batch = jax.tree.map(np.asarray, gathered(batches.input_at(step)))
        numbers = batch["number"]
        longest = max(LENGTHS[numbers].max(), WRITTEN_LENGTHS[numbers].max())
        steps = next(boundary for boundary in (*BOUNDARIES, FULL) if longest <= boundary)
        met.add(steps)
        shapes = {name: entry.shape[1:] for name, entry in batch.items()}
        assert shapes["tokens"] == (steps,) and shapes["features"] == (steps, 2)
        assert shapes["labels"] == (min(steps, WRITTEN),) and shapes["lengths"] == shapes["number"] == ()
        for name, whole in Records(Source(), DATA.spec())[numbers].items():
            np.testing.assert_array_equal(batch[name], whole[:, : shapes[name][0]] if shapes[name] else whole)
        assert (batch["tokens"] >= 0).sum() == LENGTHS[numbers].sum()
        assert (batch["labels"] >= 0).sum() == WRITTEN_LENGTHS[numbers].sum()
    assert met == {*BOUNDARIES, FULL}
    batches.close()


def test_a_jump_finds_what_a_walk_finds():
    walked = TrainingOrder(DATA, Records(Source(), DATA.spec()), BATCH, 9)
    steps = [walked.indices_at(step) for step in range(60)]
    for step in (59, 7, 8, 31, 0):
        jumped = TrainingOrder(DATA, Records(Source(), DATA.spec()), BATCH, 9)
        np.testing.assert_array_equal(jumped.indices_at(step), steps[step])
        np.testing.assert_array_equal(walked.indices_at(step), steps[step])


@pytest.mark.parametrize("residency", ["ram", "device", "stream"])
@pytest.mark.parametrize("count", [2, 3])
def test_the_rows_of_all_processes_are_cut_alike(residency, count):
    """Each process has rows of its own, none of which need be the longest of the batch."""
    whole, shorter = feed("ram"), 0
    shards = [feed(residency, slice(index, None, count)) for index in range(count)]
    for step in range(12):
        parts = [jax.tree.map(np.asarray, gathered(shard.input_at(step))) for shard in shards]
        for name, entry in whole.batch_at(step).items():
            for index, part in enumerate(parts):
                np.testing.assert_array_equal(part[name], entry[index::count])
        own = [Bucketed(BOUNDARIES).steps(int(part["lengths"].max()), FULL) for part in parts]
        shorter += min(own) < parts[0]["tokens"].shape[1]
    assert shorter
    for shard in shards:
        shard.close()


def test_a_step_is_traced_once_for_each_boundary():
    step = jax.jit(chex.assert_max_traces(lambda batch: jnp.sum(gather(batch)["tokens"]), n=len(BOUNDARIES) + 1))
    batches, read = feed("device"), feed("ram")
    for index in range(40):
        assert step(batches.input_at(index)) == read.batch_at(index)["tokens"].sum()


def test_lengths_are_read_once_where_the_split_is_streamed():
    source = Source()
    records = Records(source, DATA.spec())
    TrainingOrder(DATA, records, BATCH, 9)
    batches = Batches(records, BATCH, 9, "stream", data=DATA)
    assert source.decoded == SIZE
    for step in range(12):
        batches.batch_at(step)
    batches.close()
    assert records._arrays is None and source.decoded <= SIZE + (12 + 8) * BATCH


def test_full_steps_are_those_of_every_entry_with_lengths():
    assert full_steps(DATA) == {"tokens": FULL, "features": FULL, "labels": WRITTEN}
