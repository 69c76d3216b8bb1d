"""What a run ran on: versions, devices, commit."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


@functools.cache
def commit() -> str | None:
    """Return the commit this code is checked out at, with `-dirty` where files were changed; None when installed."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        """Return what git prints, None where it fails or is not there."""
        try:
            answer = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return answer.stdout.strip()

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return f"{git('rev-parse', 'HEAD')}{'-dirty' if git('status', '--porcelain', '--untracked-files=no') else ''}"


def device(count: int | None = None) -> str:
    """Return the kind and number of devices, such as ``cpu x 1``; of all there are unless told how many."""
    return f"{jax.devices()[0].device_kind} x {jax.device_count() if count is None else count}"


def environment() -> dict[str, Any]:
    """Return what is written to environment.json."""
    return {
        "versions": versions(),
        "devices": [str(item) for item in jax.devices()],
        "device": device(),
        "commit": commit(),
        "platform": platform.platform(),
        "command": sys.argv,
    }
