"""What the training loop costs beside a bare loop over the same compiled step.

    python -m benchmarks.loop [experiment] [--smoke] [--rounds 9] [--steps 600]

`train` counts its phases "input" and "step", which hold everything that a step costs: reading the batch, the step,
reports, journal and progress lines, but not compilation, evaluation and checkpoints. The bare loop calls the same
compiled step on one batch. Both sides run in turn in one process, in every second round backwards; steps a second of
each round and their ratio are printed, and the ratios of the fastest rounds and of the medians.
"""

import importlib
import tempfile
import time

import jax

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import parser_of, say_where, write
from research.data import Batches
from research.devices import compile_for
from research.devices.cpu.memory import keep_memory
from research.experiment import Experiment, RunOptions, replace, split
from research.training import train, train_step
from research.training.update.step import init_state

OPTIONS = RunOptions(evaluate_every=0, checkpoint_every=10**9)


def bare(experiment: Experiment, steps: int) -> float:
    """Return seconds a step of a loop that does nothing but call the compiled step on one batch."""
    program, hyperparameters = split(experiment)
    hyperparameters = jax.device_put(hyperparameters)
    step, state = compile_for(train_step, program, donate_state=True), compile_for(init_state, program)(hyperparameters)
    feed = Batches(experiment.data.open("train"), experiment.batch_size, experiment.seed).input_at(0)
    for _ in range(10):
        state, _ = step(hyperparameters, state, feed)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(steps):
        state, _ = step(hyperparameters, state, feed)
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / steps


def whole(experiment: Experiment, steps: int) -> float:
    """Return seconds a step of `train`; the first step, which may compile, is counted apart."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = train(replace(experiment, {"steps": steps}), folder, OPTIONS).seconds
    return (seconds["input"] + seconds["step"]) / (steps - 1)


def main() -> None:
    """Measure in turn, print a row a round and write both files."""
    parser = parser_of(__doc__, "loop")
    parser.add_argument("experiment", nargs="?", default="digits_cnn")
    parser.add_argument("--smoke", action="store_true", help="the experiment's small variant, whose steps are short")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    keep_memory()
    module = importlib.import_module(f"experiments.{arguments.experiment}")
    experiment = replace(module.experiment, module.smoke if arguments.smoke else {})
    whole(experiment, 20)  # compiles
    on = machine()
    print(heading(on))
    sides = {"bare": bare, "train": whole}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _, side in in_turn(list(sides), arguments.rounds):
        seconds[side].append(sides[side](experiment, arguments.steps))
    rows = compare({side: [[one] for one in each] for side, each in seconds.items()}, "bare")
    name = arguments.experiment + " --smoke" * arguments.smoke
    print(f"\n{name}, {arguments.steps} steps a round")
    print(f"{'round':>6} {'bare step/s':>12} {'train step/s':>13} {'train / bare':>13}")
    for index, (alone, inside) in enumerate(zip(seconds["bare"], seconds["train"], strict=True)):
        print(f"{index:>6} {1 / alone:>12.1f} {1 / inside:>13.1f} {alone / inside:>13.3f}")
    for label, least, relative in (("best", "min", "min_ratio"), ("median", "median", "ratio")):
        speeds = f"{1 / rows['bare'][least]:>12.1f} {1 / rows['train'][least]:>13.1f}"
        print(f"{label:>6} {speeds} {1 / rows['train'][relative]:>13.3f}")
    bars = {side: [1e3 * one for one in each] for side, each in seconds.items()}
    content = {"machine": on, "experiment": name, "steps": arguments.steps, "table": rows, "seconds": seconds}
    write(arguments.output, "loop", content, [Bars(name, "ms a step", bars, ("train",))])
    say_where(arguments.output, "loop")


if __name__ == "__main__":
    main()
