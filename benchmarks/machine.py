"""What a measurement was made on, and what both sides of a comparison are allowed."""

import os
import platform
from typing import Any

from research.training.storage.environment import commit, versions


def machine(**others: str) -> dict[str, Any]:
    """Return platform, cores, load, commit and versions; `others` are versions of further packages."""
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "commit": commit(),
        "versions": {**versions(), **others},
    }


def heading(found: dict[str, Any]) -> str:
    """Return what `machine` found as two lines."""
    names = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['platform']}, {found['cores']} cores, load {found['load']:.1f}\n{names}, commit {found['commit']}"
