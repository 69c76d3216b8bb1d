import os
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.devices import Layout, cpu, place, place_together
from research.models import TransformerLanguageModel
from tests.training import forking

pytestmark = pytest.mark.optimized

GLIBC = platform.libc_ver()[0] == "glibc"

# Prints the new pages of ten calls of a program whose result, dropped each time, takes 64 MiB: more than glibc keeps of
# itself in any case.
FAULTS = """
import resource
from research.devices.cpu import keep_memory
kept = keep_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.full((64, 2**18), x))
for _ in range(3):
    step(1.0).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step(1.0).block_until_ready()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# Prints how many MiB stay resident after arrays of so many have been computed and dropped.
LARGE = """
import resource, sys, time
from research.devices.cpu import keep_memory
keep_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.full((int(sys.argv[1]), 2**18), x))
step.lower(1.0).compile()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before = resident()
for _ in range(3):
    step(1.0).block_until_ready()
time.sleep(1)  # XLA frees a block after it says that it is done
print(resident() - before)
"""

# Prints how many MiB of freed blocks are resident before and after something is compiled.
COMPILING = """
import ctypes, resource
from research.devices.cpu import keep_memory
keep_memory()
import jax
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
jax.jit(lambda x: x + 1)(2.0)
start = resident()
blocks = [c.malloc(2**16) for _ in range(1600)]
for block in blocks:
    ctypes.memset(block, 1, 2**16)
for block in blocks[:-1]:
    c.free(block)
kept = resident() - start
jax.jit(lambda x: x + 2)(2.0)
print(kept, resident() - start)
"""


def printed(program, *arguments):
    """Return the numbers that a program prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return tuple(map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


@pytest.mark.skipif(not GLIBC, reason="the allocator is told this way with glibc alone")
def test_large_blocks_are_not_kept(monkeypatch):
    monkeypatch.setenv(cpu.VARIABLE, "true")
    (kept,), (given_back,) = printed(LARGE, 192), printed(LARGE, 320)
    assert kept > 180
    assert given_back < 64


@pytest.mark.skipif(not GLIBC, reason="the allocator is told this way with glibc alone")
def test_what_compiling_took_is_given_back(monkeypatch):
    monkeypatch.setenv(cpu.VARIABLE, "true")
    freed, left = printed(COMPILING)
    assert freed > 90
    assert left < 30


def faults(monkeypatch, setting):
    """Return whether memory was kept, and the pages that ten calls of a program took anew."""
    monkeypatch.setenv(cpu.VARIABLE, setting)
    return printed(FAULTS)


@pytest.mark.skipif(not GLIBC, reason="the allocator is told this way with glibc alone")
def test_memory_is_kept_from_one_step_to_the_next(monkeypatch):
    kept, few = faults(monkeypatch, "true")
    given_back, many = faults(monkeypatch, "False")
    assert (kept, given_back) == (1, 0)
    assert few < many / 5, f"{few} and {many} new pages"


def test_another_library_of_c_is_left_alone(monkeypatch):
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: object())
    assert not cpu.keep_memory()
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(TypeError))
    assert not cpu.keep_memory()


def is_left_to_the_library(operation, *shapes):
    """Whether XLA leaves an operation, compiled as a step is, to a library."""
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    program = place(lambda program, *inputs: operation(*inputs), shapes).lower(*arrays).compile()
    return "ynn" in program.as_text()


def test_products_are_left_to_a_library_and_convolutions_are_not(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolution = partial(
        jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=dimensions
    )
    shapes = (32, 16, 16, 64), (3, 3, 64, 64)
    assert is_left_to_the_library(jnp.matmul, (256, 256), (256, 256))
    assert not is_left_to_the_library(convolution, *shapes)
    monkeypatch.setenv("XLA_FLAGS", f"--{cpu.LIBRARY}=")  # which XLA itself has read long before
    assert is_left_to_the_library(convolution, *shapes)


MODEL = TransformerLanguageModel(vocabulary=31, layers=3, width=32, heads=2, max_length=64)
TOKENS = np.random.default_rng(0).integers(0, 31, (4, 64), np.int32)


def descend(model, rate, params, tokens):
    """Parameters after a step of gradient descent, and their norm before it."""
    slopes = jax.grad(lambda params: jnp.square(model.apply({"params": params}, tokens)).mean())(params)
    return jax.tree.map(lambda value, slope: value - rate * slope, params, slopes), optax.tree.norm(params)


def compare_with_the_usual(together):
    """Compile and take a step as a run does and as JAX does by default."""
    arguments = jnp.float32(0.1), MODEL.init(jax.random.key(0), TOKENS)["params"], TOKENS
    plain = partial(descend, MODEL)
    if together:
        arguments, plain = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arguments), jax.vmap(plain)
        placed = place_together(descend, MODEL, "vmap", (0, 0, 0), donate_state=True)
    else:
        placed = place(descend, MODEL, donate_state=True)
    lean, usual = (each.lower(*arguments).compile() for each in (placed, jax.jit(plain, donate_argnums=1)))
    needed, before = (each.memory_analysis().temp_size_in_bytes for each in (lean, usual))
    assert needed < 0.95 * before
    expected = usual(*jax.tree.map(jnp.copy, arguments))
    jax.tree.map(np.testing.assert_array_equal, lean(*arguments), expected)


@pytest.mark.parametrize("together", [False, True])
def test_a_step_takes_less_memory_to_the_same_bits(together, monkeypatch, tmp_path):
    """In a process of its own: which of XLA's emitters are used is settled when the first program is compiled."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    ended = forking.finish(*forking.call(compare_with_the_usual, together, log=tmp_path / "log"))
    assert ended.code == 0, ended.text


class Described:
    """A mesh of a TPU that is not here."""

    devices = np.array([SimpleNamespace(platform="tpu")])


def test_other_compilers_are_told_nothing(monkeypatch):
    told = []
    monkeypatch.setattr(jax, "jit", lambda step, **given: told.append(given["compiler_options"]))
    place(jnp.add, "for this CPU")
    place(jnp.add, "for a TPU", Layout(Described()), once=True)
    place_together(jnp.add, "for this CPU", "vmap", (0,))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    place(jnp.add, "for a GPU", once=True)
    place_together(jnp.add, "for a GPU", "vmap", (0,))
    assert [bool(options) for options in told] == [True, False, True, False, False]


def test_cores_are_divided_equally(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 11}, raising=False)
    assert cpu.divided(2) == [{2, 3}, {5, 7}]
    assert cpu.divided(1) == [{2, 3, 5, 7, 11}]
    assert cpu.divided(6) == [frozenset()] * 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu.divided(2) == [frozenset()] * 2


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 5), ("250000 100000", 3), ("900000 100000", 5), ("", 5)]
)
def test_cores_are_those_that_a_container_pays_for(monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 11}, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda path: limit)
    assert cpu.cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to cores")
def test_what_is_started_is_kept_to_its_cores():
    before = os.sched_getaffinity(0)
    own = frozenset(sorted(before)[:1])
    statement = "import os, jax; jax.devices(); print(*os.sched_getaffinity(0))"
    with cpu.kept_to(own):
        found = subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True, text=True).stdout
        assert os.sched_getaffinity(0) == own
    assert os.sched_getaffinity(0) == before
    assert {int(word) for word in found.split()} == own
    with cpu.kept_to(frozenset()):
        assert os.sched_getaffinity(0) == before


def test_a_cpu_alone_is_known_before_jax_begins(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(cpu.importlib.metadata, "entry_points", lambda group: ())
    monkeypatch.setattr(cpu.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(cpu, "jax", SimpleNamespace(config=SimpleNamespace(jax_num_cpu_devices=-1, jax_platforms=None)))
    assert cpu.is_only_device()
    for name, value in (("jax_platforms", "tpu,cpu"), ("jax_num_cpu_devices", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(cpu.jax.config, name, value)
            assert not cpu.is_only_device()
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
        assert not cpu.is_only_device()
    with monkeypatch.context() as patch:
        patch.setattr(cpu.importlib.metadata, "entry_points", lambda group: (group == "jax_plugins",) * 2)
        assert not cpu.is_only_device()
    monkeypatch.setattr(cpu.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert not cpu.is_only_device()
    monkeypatch.setattr(cpu.jax.config, "jax_platforms", "cpu")
    assert cpu.is_only_device()
