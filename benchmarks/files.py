"""Count the files of research/ that a reader of one run passes.

    python -m benchmarks.files [--experiment digits_cnn]

In a fresh process it trains an experiment's smoke variant under `sys.setprofile`, once to warm what is cached and once
counted: the files whose functions are called, and those on the way from `train` to the step that is compiled. What an
import calls is not counted.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import research

ROOT = Path(research.__file__).parent


class Passed:
    """The files passed, in the order in which they are met."""

    def __init__(self) -> None:
        self.called: dict[str, int] = {}
        self.way: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note the file of a call."""
        if event != "call" or (name := place(frame)) is None or frame.f_code.co_name == "<module>":
            return
        self.called[name] = self.called.get(name, 0) + 1
        if frame.f_code.co_name == "train_step" and not self.way:
            self.way = list(dict.fromkeys(reversed([*stack(frame)])))


def place(frame: FrameType) -> str | None:
    """Return the file of a frame below research/, None elsewhere."""
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else None


def stack(frame: FrameType | None) -> Iterator[str]:
    """Yield the files of research/ on the stack, the innermost first."""
    while frame is not None:
        if (name := place(frame)) is not None:
            yield name
        frame = frame.f_back


def count(name: str) -> None:
    """Train twice in this process and print what the second time passes."""
    from research.experiment import RunOptions, replace
    from research.training import train

    module = importlib.import_module(f"experiments.{name}")
    experiment = replace(module.experiment, module.smoke)
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(progress="none")
        train(experiment, Path(folder, "warm"), options)
        passed = Passed()
        sys.setprofile(passed)
        train(replace(experiment, {"model.activation": "gelu"}), Path(folder, "counted"), options)
        sys.setprofile(None)
    print(f"{name}: functions of {len(passed.called)} files are called, {len(passed.way)} on the way to the step")
    print("  on the way:", " ".join(passed.way))
    for file, calls in sorted(passed.called.items()):
        print(f"  {calls:8,} {file}")


def main() -> None:
    """Count in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="digits_cnn", help="name of a module in experiments/")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        count(arguments.experiment)
    else:
        command = [sys.executable, "-m", "benchmarks.files", "--here", "--experiment", arguments.experiment]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
