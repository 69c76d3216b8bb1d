import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from research.planning.chips import Chip
from research.planning.flops import Work
from research.planning.memory import Exhausted, Memory, bytes_per_device, exhausted, memory
from research.planning.roofline import roofline


def test_a_device_holds_its_part():
    mesh = AbstractMesh((2, 4), ("data", "fsdp"))
    tree = {
        "divided": jax.ShapeDtypeStruct(
            (16, 3), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        ),
        "everywhere": jax.ShapeDtypeStruct((5,), jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec())),
        "plain": jax.ShapeDtypeStruct((), np.int32),
    }
    assert bytes_per_device(tree) == 2 * 3 * 4 + 5 * 2 + 4


def test_a_compiled_program_is_accounted_for():
    compiled = jax.jit(lambda x: (x @ x).sum()).lower(jax.ShapeDtypeStruct((32, 32), jnp.float32)).compile()
    found = memory({"batch": 4096}, compiled)
    assert (found.held, found.padding, found.results) == ({"batch": 4096}, 0, 4)
    assert found.temporaries >= 4096
    assert found.total == 4096 + 4 + found.temporaries


@pytest.mark.parametrize(
    ("message", "found"),
    (
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 26.42G "
            "of 15.75G hbm. Exceeded hbm capacity by 10.67G.",
            Exhausted(round(26.42 * 2**30), round(15.75 * 2**30)),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (512.50M) "
            "exceeds available HBM (15.75G).",
            Exhausted(round(512.5 * 2**20), round(15.75 * 2**30)),
        ),
        ("RESOURCE_EXHAUSTED: something else", Exhausted(None, None)),
        ("INTERNAL: a bug", None),
    ),
)
def test_a_compiler_that_lacks_memory_is_understood(message, found):
    assert exhausted(RuntimeError(message)) == found


def test_a_roofline_by_hand():
    chip = Chip("made up", "tpu", 1, bfloat16=100.0, float32=50.0, memory=1.0, bandwidth=10.0, links=8.0)
    found = roofline(Work(half=400, single=100, elementwise=7, traffic=30), 5, 20.0, chip, 0.5)
    assert (found.compute, found.memory, found.links) == ((400 / 100 + 100 / 50) / 0.5, (30 + 10) / 10, 20 / 4)
    assert (found.seconds, found.limit) == (12.0, "compute")


def test_what_is_not_known_stays_unknown():
    unknown = roofline(Work(half=1), 5, 0.0, Chip("v2", "tpu"), 0.5)
    assert (unknown.compute, unknown.memory, unknown.seconds, unknown.limit) == (None, None, None, None)
    linkless = Chip("v4", "tpu", 1, bfloat16=1.0, float32=1.0, bandwidth=1.0)
    assert roofline(Work(half=1), 5, 3.0, linkless, 1.0).links is None
    assert roofline(Work(half=1), 5, 3.0, linkless, 1.0).seconds == 10


def test_memory_adds_up():
    assert Memory({"parameters": 3, "batch": 5}, padding=7, results=11, temporaries=13).total == 39
    assert Memory({"parameters": 3}).total == 3
