import platform
import subprocess
import sys

import pytest

from research.devices import cpu

GLIBC = platform.libc_ver()[0] == "glibc"

# A program whose temporary memory is 16 MB, as a training step has it; prints the new pages of ten calls.
FAULTS = """
import resource
from research.devices.cpu import keep_memory
kept = keep_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: ((x @ x.T) @ x).sum())
x = jnp.ones((2003, 31))
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step(x).block_until_ready()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(monkeypatch, setting):
    """Return whether memory was kept, and the pages that ten calls of a program took anew."""
    monkeypatch.setenv(cpu.VARIABLE, setting)
    printed = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, printed.split()))


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
