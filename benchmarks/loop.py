"""What the training loop costs beside a bare loop over the same compiled step.

    python -m benchmarks.loop [experiment] [--rounds 5] [--steps 600]

`train` is timed at STEPS and at twice STEPS; the difference leaves out what does not grow with the steps (compilation,
restoring, the final evaluation and the picture) and keeps what does: input, reports, journal and progress lines.
Evaluations and checkpoints on the way are switched off. Both sides run in turn in one process; the ratio of each round
is printed, and their median.
"""

import argparse
import dataclasses
import importlib
import platform
import statistics
import tempfile
import time

import jax

from research.data import Batches
from research.devices import place
from research.experiment import Experiment, RunOptions, replace, split
from research.training import train, train_step
from research.training.environment import device, versions
from research.training.step import init_state

OPTIONS = RunOptions(evaluate_every=0, checkpoint_every=10**9)


def bare(experiment: Experiment, steps: int) -> float:
    """Return seconds a step of a loop that does nothing but call the compiled step on one batch."""
    program, hyperparameters = split(experiment)
    hyperparameters = jax.device_put(hyperparameters)
    step, state = place(train_step, program, donate_state=True), place(init_state, program)(hyperparameters)
    feed = Batches(experiment.data.open("train"), experiment.batch_size, experiment.seed).feed_at(0)
    for _ in range(10):
        state, _ = step(hyperparameters, state, feed)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(steps):
        state, _ = step(hyperparameters, state, feed)
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / steps


def whole(experiment: Experiment, steps: int) -> float:
    """Return seconds a step of `train`, from two runs of different length."""
    seconds = []
    for length in (steps, 2 * steps):
        with tempfile.TemporaryDirectory() as folder:
            result = train(replace(experiment, {"steps": length}), folder, dataclasses.replace(OPTIONS))
        seconds.append(result.seconds["total"])
    return (seconds[1] - seconds[0]) / steps


def main() -> None:
    """Measure in turn and print a row a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="digits_cnn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    experiment = importlib.import_module(f"experiments.{arguments.experiment}").experiment
    whole(experiment, 20)  # compiles
    rows = [(bare(experiment, arguments.steps), whole(experiment, arguments.steps)) for _ in range(arguments.rounds)]
    print(f"\n{arguments.experiment} on {device()}, {platform.machine()}, jax {versions()['jax']}")
    print(f"{'round':>6} {'bare step/s':>12} {'train step/s':>13} {'train / bare':>13}")
    for index, (alone, inside) in enumerate(rows):
        print(f"{index:>6} {1 / alone:>12.1f} {1 / inside:>13.1f} {alone / inside:>13.3f}")
    print(f"{'median':>6} {'':>12} {'':>13} {statistics.median(alone / inside for alone, inside in rows):>13.3f}")


if __name__ == "__main__":
    main()
