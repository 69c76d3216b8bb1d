import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from research.devices.cpu import cores as cpu_cores


def test_cores_are_divided_equally(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 11}, raising=False)
    assert cpu_cores.divided(2) == [{2, 3}, {5, 7}]
    assert cpu_cores.divided(1) == [{2, 3, 5, 7, 11}]
    assert cpu_cores.divided(6) == [frozenset()] * 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu_cores.divided(2) == [frozenset()] * 2


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 5), ("250000 100000", 3), ("900000 100000", 5), ("", 5)]
)
def test_cores_are_those_that_a_container_pays_for(monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 11}, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda path: limit)
    assert cpu_cores.cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to cores")
def test_what_is_started_is_kept_to_its_cores():
    before = os.sched_getaffinity(0)
    own = frozenset(sorted(before)[:1])
    statement = "import os, jax; jax.devices(); print(*os.sched_getaffinity(0))"
    with cpu_cores.kept_to(own):
        found = subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True, text=True).stdout
        assert os.sched_getaffinity(0) == own
    assert os.sched_getaffinity(0) == before
    assert {int(word) for word in found.split()} == own
    with cpu_cores.kept_to(frozenset()):
        assert os.sched_getaffinity(0) == before


def test_a_cpu_alone_is_known_before_jax_begins(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(cpu_cores.importlib.metadata, "entry_points", lambda group: ())
    monkeypatch.setattr(cpu_cores.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(
        cpu_cores, "jax", SimpleNamespace(config=SimpleNamespace(jax_num_cpu_devices=-1, jax_platforms=None))
    )
    assert cpu_cores.is_only_device()
    for name, value in (("jax_platforms", "tpu,cpu"), ("jax_num_cpu_devices", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(cpu_cores.jax.config, name, value)
            assert not cpu_cores.is_only_device()
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
        assert not cpu_cores.is_only_device()
    with monkeypatch.context() as patch:
        patch.setattr(cpu_cores.importlib.metadata, "entry_points", lambda group: (group == "jax_plugins",) * 2)
        assert not cpu_cores.is_only_device()
    monkeypatch.setattr(cpu_cores.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert not cpu_cores.is_only_device()
    monkeypatch.setattr(cpu_cores.jax.config, "jax_platforms", "cpu")
    assert cpu_cores.is_only_device()
