"""What `model.scan` saves: compiling a training step of many equal blocks as one loop, or as one block after another.

    python -m benchmarks.scan_layers [--layers 24] [--rounds 3]

Both sides compile the same GPT in turn, ahead of time and with no cache; the ratio of each round and of the fastest is
printed. The step is the one that `train` takes: forward, backward and update.
"""

import argparse
import platform
import time

import jax
import jax.numpy as jnp

from experiments.text_transformer import experiment
from research.devices import place
from research.experiment import Experiment, replace, spec, split
from research.training import train_step
from research.training.environment import device, versions
from research.training.state import abstract_state


def seconds_to_compile(experiment: Experiment) -> float:
    """Return the seconds from Python to machine code."""
    jax.clear_caches()
    program, hyperparameters = split(experiment)
    state, batch = abstract_state(experiment), spec(experiment)
    start = time.perf_counter()
    place(train_step, program, donate_state=True).lower(hyperparameters, state, batch).compile()
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn and print a row a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    unrolled = replace(experiment, {"model.layers": arguments.layers})
    scanned = replace(unrolled, {"model.scan": True})
    jnp.zeros(1).block_until_ready()  # starts the device
    rows = [(seconds_to_compile(unrolled), seconds_to_compile(scanned)) for _ in range(arguments.rounds)]
    print(f"{arguments.layers} layers on {device()}, {platform.machine()}, jax {versions()['jax']}")
    print(f"{'round':>6} {'unrolled s':>11} {'scanned s':>10} {'scanned / unrolled':>19}")
    for index, (plain, scan) in enumerate(rows):
        print(f"{index:>6} {plain:>11.2f} {scan:>10.2f} {scan / plain:>19.3f}")
    plain, scan = (min(column) for column in zip(*rows, strict=True))
    print(f"{'best':>6} {plain:>11.2f} {scan:>10.2f} {scan / plain:>19.3f}")


if __name__ == "__main__":
    main()
