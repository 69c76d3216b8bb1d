"""What `model.scan` saves: compiling a training step of many equal blocks as one loop, or as one block after another.

    python -m benchmarks.scan_layers [--layers 24] [--rounds 3]

Both sides compile the same GPT in turn, ahead of time and with no cache; least and median seconds are printed, and how
many times those of the unrolled one. The step is the one that `train` takes: forward, backward and update.
"""

import time

import jax
import jax.numpy as jnp

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import parser_of, say_where, write
from experiments.text_transformer import experiment
from research.devices import compile_for
from research.experiment import Experiment, replace, spec, split
from research.training import train_step
from research.training.update.shapes import abstract_state


def seconds_to_compile(experiment: Experiment) -> float:
    """Return the seconds from Python to machine code."""
    jax.clear_caches()
    program, hyperparameters = split(experiment)
    state, batch = abstract_state(experiment), spec(experiment)
    start = time.perf_counter()
    compile_for(train_step, program, donate_state=True).lower(hyperparameters, state, batch).compile()
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn, print a row a side and write both files."""
    parser = parser_of(__doc__, "scan_layers")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    unrolled = replace(experiment, {"model.layers": arguments.layers})
    sides = {"unrolled": unrolled, "scanned": replace(unrolled, {"model.scan": True})}
    jnp.zeros(1).block_until_ready()  # starts the device
    on = machine()
    print(heading(on))
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _, side in in_turn(list(sides), arguments.rounds):
        seconds[side].append(seconds_to_compile(sides[side]))
    rows = compare({side: [[one] for one in each] for side, each in seconds.items()}, "unrolled")
    title = f"{arguments.layers} layers"
    print(f"{title:>10} {'s, min':>8} {'median':>8} {'x unrolled, min':>16} {'x unrolled':>11}")
    for side, row in rows.items():
        print(f"{side:>10} {row['min']:>8.2f} {row['median']:>8.2f} {row['min_ratio']:>16.3f} {row['ratio']:>11.3f}")
    content = {"machine": on, "layers": arguments.layers, "table": rows, "seconds": seconds}
    write(arguments.output, "scan_layers", content, [Bars(title, "s to compile a step", seconds, ("scanned",))])
    say_where(arguments.output, "scan_layers")


if __name__ == "__main__":
    main()
