"""Marks of tests that ask a compiler which `make test-plans` installs; elsewhere they are skipped."""

from importlib.util import find_spec

import pytest


def tpu_compiler(test):
    """Mark a test that asks the TPU compiler."""
    missing = find_spec("libtpu") is None
    return pytest.mark.plan_tpu(pytest.mark.skipif(missing, reason='needs the extra "plan-tpu"')(test))


def gpu_compiler(test):
    """Mark a test that asks the GPU compiler."""
    missing = find_spec("jax_plugins") is None or find_spec("jax_plugins.xla_cuda12") is None
    return pytest.mark.plan_gpu(pytest.mark.skipif(missing, reason='needs the extra "plan-gpu"')(test))
