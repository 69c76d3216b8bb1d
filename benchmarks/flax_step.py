"""What a step costs here, and in the loop that its user would write with Flax and Optax alone.

    python -m benchmarks.flax_step [--family mlp cnn lstm transformer] [--rounds 9] [--steps N] [--output FOLDER]

The networks, data and updates are those of `benchmarks.sweep`, and the loop that of `benchmarks/peers/flax_sweep.py`:
data on the device, a fresh permutation an epoch, one compiled step. All sides are in one process and take some steps
in turn, in every second round backwards, waited for at the end of a turn:

silent      the compiled step of a run between its reports
reported    the same with all its metrics
flax        the step of the plain loop
train       `train` as it is called, compiled before: with a run folder, a report every 50 steps, a checkpoint every
            500 and the last evaluations on two splits
loop        the plain loop from its initial parameters to its evaluation on one split

`x flax` and `x loop` are medians over rounds of a side's time over that of the reference in the same round.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.peers import flax_sweep
from benchmarks.sweep import FAMILIES, for_peer, sweep
from benchmarks.tables import compare, in_turn
from benchmarks.writing import parser_of, say_where, write
from research.data import Batches
from research.devices import ONE_DEVICE, compile_for
from research.devices.cpu.memory import keep_memory
from research.experiment import Experiment, RunOptions, replace, split
from research.training import train
from research.training.stepping import compiled_train_step
from research.training.update.step import init_state

STEPS = {"mlp": 2000, "cnn": 600, "lstm": 600, "transformer": 150}
WHOLE = 2000  # steps of a run as a whole
SIDES = ("silent", "reported", "flax")
RUNS = ("train", "loop")

Turn = Callable[[int], None]


def here(experiment: Experiment, reports: bool) -> Turn:
    """Return what takes steps with the compiled step of `train`."""
    program, hyperparameters = split(experiment)
    hyperparameters = jax.device_put(hyperparameters)
    step = compiled_train_step(program, ONE_DEVICE, reports=reports)
    state = compile_for(init_state, program, once=True)(hyperparameters)
    batches = Batches(experiment.data.open("train"), experiment.batch_size, experiment.seed)
    done = 0

    def turn(steps: int) -> None:
        """Take some steps and wait for the last."""
        nonlocal state, done
        for index in range(done, done + steps):
            state, _ = step(hyperparameters, state, batches.input_at(index), {})
        jax.block_until_ready(state)
        done += steps

    return turn


class Plain:
    """The plain loop over the same network and data."""

    def __init__(self, experiment: Experiment) -> None:
        self.data: dict[str, dict[str, jax.Array]] = {"train": {}, "validation": {}}
        with tempfile.TemporaryDirectory() as folder:
            recipe, data = for_peer(experiment, sweep(experiment, 4), Path(folder))
            self.recipe = json.loads(Path(recipe).read_text())
            for name, array in np.load(data).items():
                part, entry = name.split("/")
                self.data[part][entry] = jnp.asarray(array)
        self.begin, self.step, self.evaluate = flax_sweep.compiled(self.recipe)
        self.rate, self.key = jnp.float32(self.recipe["learning_rates"][0]), jax.random.key(experiment.seed)
        self.examples = len(next(iter(self.data["train"].values())))

    def turn(self) -> Turn:
        """Return what takes steps."""
        state = self.begin(self.key, self.data["train"])
        rows = flax_sweep.batches(self.examples, self.recipe["batch_size"], 0)
        done = 0

        def turn(steps: int) -> None:
            """Take some steps and wait for the last."""
            nonlocal state, done
            for index in range(done, done + steps):
                state, _ = self.step(state, self.rate, self.key, index, self.data["train"], next(rows))
            jax.block_until_ready(state)
            done += steps

        return turn

    def whole(self, steps: int) -> None:
        """Train from initial parameters and evaluate."""
        state = self.begin(self.key, self.data["train"])
        rows = flax_sweep.batches(self.examples, self.recipe["batch_size"], 0)
        for index in range(steps):
            state, _ = self.step(state, self.rate, self.key, index, self.data["train"], next(rows))
        float(self.evaluate(state[0], self.data["validation"]))


def trained(experiment: Experiment, steps: int) -> None:
    """Train as a whole, into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(progress="none", evaluate_every=0, pictures=False)
        train(replace(experiment, {"steps": steps}), folder, options)


def measured(turns: dict[str, Turn], steps: int, rounds: int) -> dict[str, list[list[float]]]:
    """Return the seconds a step of each side in each round; a first turn of each does not count."""
    seconds: dict[str, list[list[float]]] = {side: [] for side in turns}
    for turn in turns.values():
        turn(steps)
    for _, side in in_turn(list(turns), rounds):
        start = time.perf_counter()
        turns[side](steps)
        seconds[side].append([(time.perf_counter() - start) / steps])
    return seconds


def show(rows: dict[str, dict[str, float]], reference: str) -> None:
    """Print a row a side."""
    for side, row in rows.items():
        times = f"{1e3 * row['min']:>10.3f} {1e3 * row['median']:>10.3f}"
        print(f"{side:<10}{times} {row['min_ratio']:>10.2f} {row['ratio']:>10.2f}  x {reference}", flush=True)


def main() -> None:
    """Measure in turn, print a table a family and write both files."""
    parser = parser_of(__doc__, "flax_step")
    parser.add_argument("--family", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, help="of a turn; default: as many as take some tenths of a second")
    parser.add_argument("--whole", type=int, default=WHOLE, help="steps of a run as a whole; 0 leaves that out")
    parser.add_argument("--whole_rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_memory()
    on, families, bars = machine(), dict[str, Any](), []
    print(heading(on))
    for name in arguments.family:
        experiment, plain = FAMILIES[name].experiment, Plain(FAMILIES[name].experiment)
        turns = {"silent": here(experiment, False), "reported": here(experiment, True), "flax": plain.turn()}
        seconds = measured(turns, arguments.steps or STEPS[name], arguments.rounds)
        rows = compare(seconds, "flax")
        print(f"\n{name}\n{'':<10}{'min ms':>10} {'median ms':>10} {'min ratio':>10} {'ratio':>10}")
        show(rows, "flax")
        found: dict[str, Any] = {"steps": rows}
        if arguments.whole:
            runs: dict[str, Turn] = {"train": lambda steps, e=experiment: trained(e, steps), "loop": plain.whole}
            found["runs"] = compare(measured(runs, arguments.whole, arguments.whole_rounds), "loop")
            show(found["runs"], "loop")
        families[name] = found
        bars.append(Bars(name, "ms a step", {s: [1e3 * t[0] for t in each] for s, each in seconds.items()}, SIDES[:2]))
        write(arguments.output, "flax_step", {"machine": on, "families": families}, bars)
    say_where(arguments.output, "flax_step")


if __name__ == "__main__":
    main()
