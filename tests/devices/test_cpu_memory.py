import platform
import subprocess
import sys

import pytest

from research.devices.cpu import memory as cpu_memory

pytestmark = pytest.mark.optimized

GLIBC = platform.libc_ver()[0] == "glibc"

# Prints the new pages of ten calls of a program whose result, dropped each time, takes 64 MiB: more than glibc keeps of
# itself in any case.
FAULTS = """
import resource
from research.devices.cpu.memory import keep_memory
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
from research.devices.cpu.memory import keep_memory
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
from research.devices.cpu.memory import keep_memory
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
    monkeypatch.setenv(cpu_memory.VARIABLE, "true")
    (kept,), (given_back,) = printed(LARGE, 192), printed(LARGE, 320)
    assert kept > 180
    assert given_back < 64


@pytest.mark.skipif(not GLIBC, reason="the allocator is told this way with glibc alone")
def test_what_compiling_took_is_given_back(monkeypatch):
    monkeypatch.setenv(cpu_memory.VARIABLE, "true")
    freed, left = printed(COMPILING)
    assert freed > 90
    assert left < 30


def faults(monkeypatch, setting):
    """Return whether memory was kept, and the pages that ten calls of a program took anew."""
    monkeypatch.setenv(cpu_memory.VARIABLE, setting)
    return printed(FAULTS)


@pytest.mark.skipif(not GLIBC, reason="the allocator is told this way with glibc alone")
def test_memory_is_kept_from_one_step_to_the_next(monkeypatch):
    kept, few = faults(monkeypatch, "true")
    given_back, many = faults(monkeypatch, "False")
    assert (kept, given_back) == (1, 0)
    assert few < many / 5, f"{few} and {many} new pages"


def test_another_library_of_c_is_left_alone(monkeypatch):
    monkeypatch.setattr(cpu_memory.ctypes, "CDLL", lambda name: object())
    assert not cpu_memory.keep_memory()
    monkeypatch.setattr(cpu_memory.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(TypeError))
    assert not cpu_memory.keep_memory()
