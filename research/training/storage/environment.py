"""What a run ran on: versions, settings, devices, commit."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from research.devices.cpu.cores import cores

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")

SETTINGS = (
    "default_matmul_precision",
    "default_prng_impl",
    "disable_jit",
    "enable_x64",
    "numpy_dtype_promotion",
    "random_seed_offset",
    "threefry_partitionable",
)


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


@functools.cache
def commit() -> str | None:
    """Return the commit this code is checked out at, with `-dirty` where files were changed; None when installed."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return f"{_git('rev-parse', 'HEAD')}{'-dirty' if _git('status', '--porcelain', '--untracked-files=no') else ''}"


@functools.cache
def uncommitted() -> str | None:
    """Return a digest of what was changed since the commit, None where nothing was."""
    if not (commit() or "").endswith("-dirty"):
        return None
    return hashlib.sha256((_git("diff", "HEAD") or "").encode()).hexdigest()[:10]


def settings() -> dict[str, Any]:
    """Return what JAX is set to that changes which numbers a program gives."""
    return {name: str(getattr(jax.config, f"jax_{name}")) for name in SETTINGS}


def compiler_flags(flags: str) -> str:
    """Return those flags of XLA that may change numbers: none that says how many devices there are, or what to dump."""
    return " ".join(flag for flag in flags.split() if not flag.startswith(("--xla_force_host", "--xla_dump")))


def _git(*arguments: str) -> str | None:
    """Return what git prints of this code, None where it fails or is not there."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="replace").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device(count: int | None = None) -> str:
    """Return the kind and number of devices, such as ``cpu x 1``; of all there are unless told how many."""
    return f"{jax.devices()[0].device_kind} x {jax.device_count() if count is None else count}"


def environment() -> dict[str, Any]:
    """Return what is written to environment.json."""
    return {
        "versions": versions(),
        "settings": {**settings(), "XLA_FLAGS": compiler_flags(os.environ.get("XLA_FLAGS", ""))},
        "devices": [str(item) for item in jax.devices()],
        "device": device(),
        "cores": cores() if jax.default_backend() == "cpu" else None,
        "commit": commit(),
        "uncommitted": uncommitted(),
        "platform": platform.platform(),
        "command": sys.argv,
    }


def drift(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what of two environments differs that may change numbers: {name: (before, now)}.

    An environment written before there was a name does not know it, which is no difference.
    """

    def facts(environment: dict[str, Any]) -> dict[str, Any]:
        names = ("commit", "uncommitted", "device", "cores")
        known = {name: environment[name] for name in names if name in environment}
        groups = [environment.get(group) for group in ("versions", "settings")]
        return known | {name: each for group in groups if isinstance(group, dict) for name, each in group.items()}

    old, new = facts(before), facts(now)
    return {name: (old[name], new[name]) for name in new if name in old and old[name] != new[name]}


def explain_drift(changed: dict[str, tuple[Any, Any]]) -> str:
    """Return what has changed in words: ``jax 0.10.1 -> 0.10.2, commit 1f3c -> none``."""
    words = {"uncommitted": "uncommitted changes"}

    def short(name: str, value: Any) -> str:
        text = "none" if value is None else str(value)
        return text[:10] + "-dirty" * text.endswith("-dirty") if name == "commit" else text

    return ", ".join(
        f"{words.get(name, name)} {short(name, old)} -> {short(name, new)}" for name, (old, new) in changed.items()
    )
