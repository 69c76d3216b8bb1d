"""Whether memory grows over the steps of a run and over the trials of a process, and what a step needs at its peak.

    python -m benchmarks.memory [--steps 2000] [--trials 200]      # growth
    python -m benchmarks.memory --step [--model gpt] [--peer PYTHON]  # peak, of a step of benchmarks.train_step

Growth: the small variant of `digits_cnn` by its command, with what `research.devices.cpu.memory` does and without
(untuned); the resident memory of the process is noted at every line it prints. `growth` is the slope over the second
half, by when all that is kept has been allocated; `of it` is what that slope comes to over all steps or trials, as a
share of the memory at the middle.

Peak: sides `here`, `untuned` and `torch`, in turn, a process each that takes a few steps and says how much memory was
resident at most: at the start, with everything imported; built, before the first step; and in the end. PyTorch need not
be installed beside JAX: --peer, or CETERIS_PEER, is a Python that has it. `added` is the end over the start: batch,
parameters, moments of Adam, gradients and activations. `steps` is the end over what was built, which is not the same
for both: PyTorch makes the moments in the first step. Compilation is left out: a run before has kept the programs.

Linux alone.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drawing import Bars, Lines
from benchmarks.machine import heading, machine
from benchmarks.peers.resident import greatest
from benchmarks.tables import compare, in_turn
from benchmarks.train_step import EXPERIMENTS, limit
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.devices import compile_for, keep_programs_and_memory
from research.devices.cpu.memory import VARIABLE
from research.experiment import split
from research.training.update.step import init_state, train_step

LINES = 20
NUMBERS = {"steps": re.compile(r"^step +(\d+)/"), "trials": re.compile(r" (\d+) left$")}
FEW, THREADS = 5, 2
COLUMNS = ("peak", "added", "steps")


def resident(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(unit: str, words: list[str], kept: bool) -> list[tuple[int, float]]:
    """Run the command; return for each line that counts steps or trials how many are done, and MiB."""
    command = [sys.executable, "-m", "experiments.digits_cnn", *words, "--smoke", "--progress", "lines"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, VARIABLE: str(kept)}
        line_by_line = {"stdout": subprocess.PIPE, "text": True, "env": environment}
        with subprocess.Popen([*command, "--workdir", folder], **line_by_line) as process:  # type: ignore[call-overload]
            for line in process.stdout:
                if (number := NUMBERS[unit].search(line)) is not None:
                    found.append((int(number[1]), resident(process.pid)))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return found


def row(unit: str, kept: bool, total: int, noted: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Return first, greatest and last memory in MiB, and the growth in KiB a step or trial and as a share.

    The numbers of what is noted may count up or down.
    """
    numbers, memory = np.array(noted).T
    half = len(memory) // 2
    slope = np.polyfit(np.abs(numbers[half:] - numbers[0]), memory[half:], 1)[0]
    ends = {"first": memory[0], "greatest": memory.max(), "last": memory[-1]}
    growth = {"growth": 1024 * slope, "share": slope * total / memory[half]}
    return {"unit": unit, "kept": kept, **{name: float(x) for name, x in {**ends, **growth}.items()}, "noted": noted}


def measure_growth(arguments: argparse.Namespace) -> None:
    """Measure growth, print a row each and write both files."""
    every = str(max(1, arguments.steps // LINES))
    axis = ["--axis", "optimizer.learning_rate=1e-3", "--seeds", str(arguments.trials // 2), "--execution", "loop"]
    commands = {"steps": ["--steps", str(arguments.steps), "--log_every", every], "trials": ["ablate", *axis]}
    on, rows = machine(), []
    print(heading(on))
    print(f"{'':>12} {'side':<8} {'first MiB':>10} {'greatest':>9} {'last':>7} {'growth KiB':>11} {'of it':>7}")
    for unit, words in commands.items():
        total = getattr(arguments, unit)
        for kept in (True, False):
            found = row(unit, kept, total, watched(unit, words, kept))
            rows.append(found)
            cells = [f"{found[name]:>{width}.0f}" for name, width in (("first", 10), ("greatest", 9), ("last", 7))]
            growth = f"{found['growth']:>11.2f} {found['share']:>7.1%}"
            print(f"{f'{total} {unit}':>12} {side(found):<8} {' '.join(cells)} {growth}", flush=True)
    titles = {unit: f"{getattr(arguments, unit)} {unit}" for unit in commands}
    panels = [Lines(title, unit, "MiB", curves(rows, unit), ("here",)) for unit, title in titles.items()]
    write(arguments.output, "memory", {"machine": on, "rows": rows}, panels)
    say_where(arguments.output, "memory")


def side(found: dict[str, Any]) -> str:
    """Return the name of a row's side."""
    return "here" if found["kept"] else "untuned"


def curves(rows: Sequence[dict[str, Any]], unit: str) -> dict[str, list[tuple[float, float]]]:
    """Return memory by what was done since the first note, of each side."""
    chosen = [found for found in rows if found["unit"] == unit]
    return {side(found): [(abs(n - found["noted"][0][0]), mib) for n, mib in found["noted"]] for found in chosen}


def step_here(model: str) -> None:
    """Take a few steps in this process and print the greatest resident memory at three moments."""
    limit(THREADS)
    keep_programs_and_memory()
    jax.block_until_ready(jnp.zeros(1))  # starts the device
    start = greatest()
    experiment = EXPERIMENTS[model]
    program, hyperparameters = split(experiment)
    hyperparameters = jax.device_put(hyperparameters)
    batch = jax.device_put(experiment.data.batch(experiment.batch_size))
    step, state = (
        compile_for(train_step, program, donate_state=True),
        compile_for(init_state, program, once=True)(hyperparameters),
    )
    jax.block_until_ready(state)
    built = greatest()
    for _ in range(FEW):
        state, metrics = step(hyperparameters, state, batch)
        jax.block_until_ready((state, metrics))
    print(json.dumps({"start": start, "built": built, "peak": greatest()}))


def measure_step(arguments: argparse.Namespace) -> None:
    """Measure peaks, print a row a side and write both files."""
    sides = ["here", "untuned", *(["torch"] if arguments.peer else [])]
    if not arguments.peer:
        without_peer("PyTorch")
    on = machine()
    print(heading(on))
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        experiment = EXPERIMENTS[arguments.model]
        np.savez(f"{folder}/batch.npz", **experiment.data.batch(experiment.batch_size))
        mine = [sys.executable, "-m", "benchmarks.memory", "--model", arguments.model, "--serve"]
        theirs = [str(arguments.peer), str(PEERS / "steps.py"), arguments.model, f"{folder}/batch.npz"]
        theirs += ["--memory", str(FEW), "--threads", str(THREADS)]
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "OMP_NUM_THREADS": str(THREADS)}
        said(mine, cache)  # compiles
        for _, name in in_turn(sides, arguments.rounds):
            environment = {**cache, VARIABLE: str(name != "untuned")}
            found = said(theirs if name == "torch" else mine, environment)
            derived = {"added": found["peak"] - found["start"], "steps": found["peak"] - found["built"]}
            rounds[name].append({**found, **derived})
    columns = {column: {name: [found[column] for found in each] for name, each in rounds.items()} for column in COLUMNS}
    tables = {
        column: compare({name: [[mib] for mib in each] for name, each in several.items()}, "torch")
        for column, several in columns.items()
    }
    print(f"{'':>8}" + "".join(f"{column + ' MiB, min':>16} {'median':>8} {'x torch':>8}" for column in COLUMNS))
    for name in sides:
        cells = (tables[column][name] for column in COLUMNS)
        print(f"{name:>8}" + "".join(f"{c['min']:>16.0f} {c['median']:>8.0f} {ratio(c):>8}" for c in cells))
    if arguments.peer:
        print(f"torch {rounds['torch'][0]['torch']}")
    panels = [Bars(f"{arguments.model}, {column}", "MiB", several, ("here",)) for column, several in columns.items()]
    write(
        arguments.output,
        "memory_step",
        {"machine": on, "model": arguments.model, "tables": tables, "rounds": rounds},
        panels,
    )
    say_where(arguments.output, "memory_step")


def ratio(cell: dict[str, float]) -> str:
    """Return a ratio in words, nothing where there is none."""
    return f"{cell['ratio']:.2f}" if "ratio" in cell else ""


def said(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Return what a command prints as JSON."""
    done = subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure growth, or peaks."""
    parser = parser_of(__doc__, "memory")
    add_peer(parser, "torch")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=200, help="an even number")
    parser.add_argument("--step", action="store_true", help="peaks of training steps, in memory_step.json and .png")
    parser.add_argument("--model", choices=EXPERIMENTS, default="gpt", help="whose peak")
    parser.add_argument("--rounds", type=int, default=3, help="of peaks")
    parser.add_argument("--serve", action="store_true", help="be one side: used by this command itself")
    arguments = parser.parse_args()
    if arguments.serve:
        return step_here(arguments.model)
    measure_step(arguments) if arguments.step else measure_growth(arguments)


if __name__ == "__main__":
    main()
