"""Where a benchmark leaves what it measured, and the options that benchmarks share."""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.drawing import Panel, draw

PEERS = Path(__file__).parent / "peers"


def parser_of(doc: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with --output, described by the docstring of a module."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/benchmarks"), help=f"folder of {name}.json and {name}.png"
    )
    return parser


def add_peer(parser: argparse.ArgumentParser, *packages: str) -> None:
    """Add --peer, a Python with those packages: CETERIS_PEER, or this one where they are installed beside JAX."""
    here = sys.executable if all(importlib.util.find_spec(name) for name in packages) else None
    parser.add_argument(
        "--peer", default=os.environ.get("CETERIS_PEER", here), help=f"a Python with {' and '.join(packages)}"
    )


def without_peer(what: str) -> None:
    """Say that something is not measured because there is no peer."""
    print(
        f"{what} is not measured: --peer or CETERIS_PEER names a Python that has it, "
        "or pip install '.[benchmarks]' adds it to this one",
        file=sys.stderr,
    )


def write(folder: Path, name: str, content: dict[str, Any], panels: Sequence[Panel]) -> None:
    """Write what was measured as a file and as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(panels, folder / f"{name}.png")


def say_where(folder: Path, name: str) -> None:
    """Print the paths of both files."""
    print(f"\n{folder / name}.json\n{folder / name}.png")
