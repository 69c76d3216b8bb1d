"""Whether what a run takes grows with its data no faster than they do: memory at its peak, and time.

    python -m benchmarks.growth [--quick] [--kind csv npz text images]

A short run by `train`, of a network of a few thousand parameters, in a process of its own, on data of the user's own: a
CSV file of 31 columns, an NPZ file of as many in float32, a folder with one text, read as bytes, and a folder of PNG
images. With almost no data, with half of them and with all:

data        the files in MiB; of images, their pixels
peak        the greatest resident memory of the process in MiB
added       over that of the run with almost no data, and as a multiple of the data
seconds     of the whole run without imports; `x half` is over that of half the data: 2 at most where time is linear
trials      seconds of a study of 2 and of 8 trials with half of the CSV file's rows, of which the data are read once

Evaluation and training read all examples that there are, so that time is about that of evaluation too. Linux alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.peers.resident import greatest
from benchmarks.writing import parser_of, say_where, write

KINDS = ("csv", "npz", "text", "images")
COLUMNS, SIDE, STEPS, TRIALS = 31, 64, 20, (2, 8)
LITTLE = 1 / 16  # of a MiB: what a run takes that has almost no data


def make(kind: str, mib: float, folder: Path) -> str:
    """Write so many MiB of data; return what names them."""
    generator, size = np.random.default_rng(0), int(mib * 2**20)
    match kind:
        case "csv":
            path = folder / "table.csv"
            with path.open("w") as file:
                file.write(",".join([*(f"c{i}" for i in range(COLUMNS - 1)), "target"]) + "\n")
                while file.tell() < size:
                    rows = generator.normal(size=(64, COLUMNS))
                    file.writelines(",".join(f"{number:.9g}" for number in row) + "\n" for row in rows)
        case "npz":
            path, n = folder / "table.npz", size // (4 * COLUMNS)
            values = generator.standard_normal((n, COLUMNS), np.float32)
            np.savez(path, features=values[:, 1:], target=values[:, 0])
        case "text":
            path = folder / "text"
            path.mkdir()
            words = np.array(["".join(map(chr, word)) for word in generator.integers(97, 123, (5000, 5))])
            with (path / "text.txt").open("w") as file:
                while file.tell() < size:
                    file.write(" ".join(generator.choice(words, 200)) + "\n")
        case _:
            from PIL import Image

            path = folder / "images"
            for i in range(max(40, size // (3 * SIDE * SIDE))):
                (path / str(i % 2)).mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                Image.fromarray(pixels).save(path / str(i % 2) / f"{i}.png", compress_level=1)
    return str(path)


def experiment_of(kind: str, name: str) -> Any:
    """Return the run of data of a kind."""
    from research.data import Images, Table, Text, Trained
    from research.experiment import Experiment
    from research.models import MLP, RecurrentLanguageModel
    from research.optimization import Optimizer
    from research.tasks import Classification, LanguageModeling, Regression

    parts: dict[str, Any] = {"optimizer": Optimizer("sgd", learning_rate=1e-3), "steps": STEPS, "batch_size": 32}
    match kind:
        case "text":
            data = Text(name, tokenizer=Trained("bytes", 256))
            return Experiment(
                RecurrentLanguageModel(vocabulary=256, embedding=8, hidden=8), LanguageModeling(), data, **parts
            )
        case "images":
            return Experiment(MLP((8,), classes=2), Classification(), Images(name), **parts)
        case _:
            return Experiment(MLP((8,), classes=1), Regression(), Table(name, COLUMNS - 1), **parts)


def serve(kind: str, name: str, trials: int) -> None:
    """Train, or study so many trials; print the greatest memory and the seconds of this process."""
    from research.ablation import Study, ablate, grid
    from research.devices.cpu.memory import keep_memory
    from research.experiment import RunOptions
    from research.training import train

    keep_memory()
    experiment, options = experiment_of(kind, name), RunOptions(progress="none", pictures=False)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if trials:
            study = Study(grid({"optimizer.learning_rate": (1e-3, 2e-3)}), seeds=trials // 2, metric="loss")
            ablate(experiment, study, folder, options, "loop")
        else:
            train(experiment, folder, options)
    print(json.dumps({"peak": greatest(), "seconds": time.perf_counter() - start}))


def served(kind: str, name: str, trials: int = 0) -> dict[str, float]:
    """Return what a process of its own says."""
    command = [sys.executable, "-m", "benchmarks.growth", "--serve", kind, name, str(trials)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(said.splitlines()[-1])


def row(mib: float, little: dict[str, float], half: dict[str, float], whole: dict[str, float]) -> dict[str, float]:
    """Return what all data take, beyond almost none as a multiple of the data, and over half of them."""
    added = whole["peak"] - little["peak"]
    times = whole["seconds"] / half["seconds"]
    return {"data": mib, **whole, "added": added, "times data": added / mib, "x half": times}


def main() -> None:
    """Measure each kind, print a row each and write both files."""
    parser = parser_of(__doc__, "growth")
    parser.add_argument("--quick", action="store_true", help="16 MiB of each instead of 192, and no trials")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        kind, name, trials = arguments.serve
        return serve(kind, name, int(trials))
    mib, on = 16.0 if arguments.quick else 192.0, machine()
    print(heading(on))
    print(f"{'':>8} {'data MiB':>9} {'peak':>7} {'added':>7} {'x data':>7} {'seconds':>8} {'x half':>7}")
    rows, trials = {}, {}
    for kind in arguments.kind:
        found = []
        for size in (LITTLE, mib / 2, mib):
            with tempfile.TemporaryDirectory() as folder:
                name = make(kind, size, Path(folder))
                found.append(served(kind, name))
                if kind == "csv" and size == mib / 2 and not arguments.quick:
                    trials = {str(count): served(kind, name, count)["seconds"] for count in TRIALS}
        rows[kind] = each = row(mib, *found)
        print(
            f"{kind:>8} {mib:>9.0f} {each['peak']:>7.0f} {each['added']:>7.0f} {each['times data']:>7.2f} "
            f"{each['seconds']:>8.1f} {each['x half']:>7.2f}",
            flush=True,
        )
    for count, seconds in trials.items():
        print(f"{count} trials: {seconds:.1f} s")
    panels = [Bars("memory over data", "times", {kind: [each["times data"]] for kind, each in rows.items()}, KINDS)]
    write(arguments.output, "growth", {"machine": on, "rows": rows, "trials": trials}, panels)
    say_where(arguments.output, "growth")


if __name__ == "__main__":
    main()
