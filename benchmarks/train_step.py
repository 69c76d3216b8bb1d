"""How long a training step takes on a CPU, here and in PyTorch: the same network, batch, loss and update, side by side.

    python -m benchmarks.train_step [--peer PYTHON] [--model mlp cnn ...] [--rounds 5] [--output FOLDER]

PyTorch need not be installed beside JAX: --peer, or CETERIS_PEER, is a Python that has it; where neither is given and
`pip install '.[benchmarks]'` has installed it here, this one. Sides, each a process that
lives throughout and takes some steps in its turn, in every second round backwards:

here        the compiled step of `train`, with its metrics
untuned     the same without what `research.devices.cpu.memory` and `cpu_compiler` do
torch       PyTorch, eager
compiled    PyTorch after `torch.compile`, which needs a C++ compiler

Each step is waited for. All sides have the same number of threads. `x here` is the median over rounds of the median of
a side's steps over that of `here` in the same round: above 1, this project is faster.

What a step could take at the best follows from its matrix products and convolutions, GFLOP of which two are a
multiplication and an addition: `GFLOP/s` is what of them a side does by its fastest step, `product` what its library
does in the product of two matrices of 2,048 x 2,048, the fastest of ten.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.data import Batch, Data
from research.devices import compile_for
from research.devices.cpu.compiler import LIBRARY
from research.devices.cpu.memory import VARIABLE, keep_memory
from research.experiment import Experiment, replace, split
from research.models import CNN, MLP, RecurrentClassifier, TransformerLanguageModel, resnet
from research.models.text.bert import bert_classifier
from research.optimization import Optimizer
from research.planning.flops import work
from research.planning.lowering import step_jaxpr
from research.tasks import Classification, LanguageModeling
from research.training.update.state import count_parameters
from research.training.update.step import init_state, train_step

SIDES = ("here", "untuned", "torch", "compiled")
UNTUNED = {VARIABLE: "false", "XLA_FLAGS": f"--{LIBRARY}=+LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}  # its default
WARM_UP = 3
SECONDS = 2.0  # of a turn
PRODUCT = 2048  # rows and columns


@dataclasses.dataclass(frozen=True)
class Drawn(Data):
    """Random arrays: entries are (name, shape, greatest integer and one), numbers with a normal distribution for 0."""

    entries: tuple[tuple[str, tuple[int, ...], int], ...]

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        kinds = {name: (shape, np.int32 if limit else np.float32) for name, shape, limit in self.entries}
        return {name: jax.ShapeDtypeStruct(shape, kind) for name, (shape, kind) in kinds.items()}

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        if "targets" not in batch:
            return batch
        b, l = batch["targets"].shape
        return batch | {name: jnp.full(b, l) for name in ("lengths", "bytes")}

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """Return a batch, always the same."""
        random = np.random.default_rng(0)
        return {
            name: random.integers(0, limit, (size, *shape), np.int32)
            if limit
            else random.standard_normal((size, *shape), np.float32)
            for name, shape, limit in self.entries
        }


def image(side: int, channels: int) -> Drawn:
    """Return images of ten classes."""
    return Drawn((("image", (side, side, channels), 0), ("label", (), 10)))


def classified(model: Any, data: Drawn, batch_size: int) -> Experiment:
    """Return the training of a classifier."""
    return Experiment(model, Classification(), data, ADAM, steps=1000, batch_size=batch_size)


ADAM = Optimizer("adam", learning_rate=1e-3, schedule="constant")
GPT = Experiment(
    TransformerLanguageModel(vocabulary=65, layers=6, width=384, heads=6, max_length=256, positions="learned"),
    LanguageModeling(),
    Drawn((("tokens", (256,), 65), ("targets", (256,), 65))),
    ADAM,
    steps=1000,
    batch_size=8,
)
EXPERIMENTS = {
    "mlp": classified(MLP((256, 256)), Drawn((("features", (784,), 0), ("label", (), 10))), 128),
    "cnn": classified(CNN(channels=(32, 64), dense=(128,)), image(28, 1), 128),
    "resnet18": classified(resnet(18, classes=10, stem="small"), image(32, 3), 32),
    "lstm": classified(
        RecurrentClassifier(hidden=128, layers=2), Drawn((("features", (128, 32), 0), ("label", (), 10))), 64
    ),
    "gpt": GPT,
    # Blocks in a loop, of which the backward pass computes all but the matrix products anew.
    "gpt_remat": replace(GPT, {"model.scan": True, "model.remat": "dots"}),
    "bert": classified(
        bert_classifier(classes=2, layers=4, width=512, heads=8, feed_forward_width=2048, max_length=128, dropout=0.0),
        Drawn((("tokens", (128,), 30522), ("label", (), 2))),
        16,
    ),
}


def here(experiment: Experiment, threads: int) -> None:
    """Warm up, then take as many steps as a line of standard input asks for, and print the seconds of each."""
    limit(threads)
    keep_memory()
    timed, parameters = warm(experiment)
    print(json.dumps({"parameters": parameters, "product": product()}), flush=True)
    for line in sys.stdin:
        print(json.dumps([timed() for _ in range(int(line))]), flush=True)


def warm(experiment: Experiment) -> tuple[Callable[[], float], int]:
    """Return a function that takes a step and returns its seconds, already warm, and how many parameters there are."""
    program, hyperparameters = split(experiment)
    hyperparameters = jax.device_put(hyperparameters)
    batch = jax.device_put(experiment.data.batch(experiment.batch_size))
    step, state = (
        compile_for(train_step, program, donate_state=True),
        compile_for(init_state, program, once=True)(hyperparameters),
    )

    def timed() -> float:
        """Take a step and return its seconds."""
        nonlocal state
        start = time.perf_counter()
        state, metrics = step(hyperparameters, state, batch)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    for _ in range(WARM_UP):
        timed()
    return timed, count_parameters(state)


def product() -> float:
    """Return the FLOPs a second of a product of two large matrices."""
    matrix = jnp.ones((PRODUCT, PRODUCT))
    multiplied = jax.jit(jnp.matmul)

    def timed() -> float:
        """Multiply and return the seconds."""
        start = time.perf_counter()
        multiplied(matrix, matrix).block_until_ready()
        return time.perf_counter() - start

    return 2 * PRODUCT**3 / min(timed() for _ in range(10))


def limit(threads: int) -> None:
    """Let this process have so many cores, where that can be said, before XLA counts them."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Side:
    """A process that takes steps when it is told to; `found` is what it said of itself."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **environment}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.found: dict[str, Any] = self._answer()
        self.steps = 1
        self.steps = max(3, int(SECONDS / self.take()[0]))

    def _answer(self) -> Any:
        """Return the next line. Raises where the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended: its errors are above")  # type: ignore[arg-type]
        return json.loads(line)

    def take(self) -> list[float]:
        """Return the seconds of each step of a turn."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.steps}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def started(model: str, sides: Sequence[str], peer: str | None, threads: int) -> Iterator[dict[str, Side]]:
    """Start one side after the other, each warm before the next; what PyTorch cannot compile is left out."""
    mine = [sys.executable, "-m", "benchmarks.train_step", "--model", model, "--threads", str(threads), "--serve"]
    found: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/batch.npz", **EXPERIMENTS[model].data.batch(EXPERIMENTS[model].batch_size))
        theirs = [str(peer), str(PEERS / "steps.py"), model, f"{folder}/batch.npz"]
        theirs += ["--threads", str(threads)]
        commands = {"here": mine, "untuned": mine, "torch": theirs, "compiled": [*theirs, "--compile"]}
        try:
            for side in sides:
                try:
                    found[side] = Side(commands[side], UNTUNED if side == "untuned" else {}, threads)
                except RuntimeError as error:
                    if side != "compiled":
                        raise
                    print(f"{model}: {error}", file=sys.stderr)
            yield found
        finally:
            for started_side in found.values():
                started_side.close()


def measured(model: str, sides: Sequence[str], peer: str | None, threads: int, rounds: int) -> dict[str, Any]:
    """Return the table of a model and all seconds, by side and round."""
    with started(model, sides, peer, threads) as running:
        counts = {side: process.found["parameters"] for side, process in running.items()}
        # cuDNN's form of the LSTM, which PyTorch has, has two biases where one would do.
        assert max(counts.values()) < 1.01 * min(counts.values()), f"the networks differ: {counts} parameters"
        seconds: dict[str, list[list[float]]] = {side: [] for side in running}
        for _, side in in_turn(list(running), rounds):
            seconds[side].append(running[side].take())
        torch = next((side.found["torch"] for side in running.values() if "torch" in side.found), None)
        rows = table(seconds, counts)
        for row in rows:
            row |= {"product": running[row["side"]].found["product"]}
    flops = work(step_jaxpr(EXPERIMENTS[model])).flops
    return {"table": rows, "flops": flops, "seconds": seconds, "torch": torch}


def table(seconds: dict[str, list[list[float]]], parameters: dict[str, int]) -> list[dict[str, Any]]:
    """Return a row a side: least and median seconds of a step, and the ratios to `here`."""
    return [
        {"side": side, **row, "parameters": parameters[side]}
        for side, row in compare(seconds, reference="here").items()
    ]


def show(model: str, rows: Sequence[dict[str, Any]], flops: int) -> None:
    """Print the rows of a model, a step of which is of so many FLOPs."""
    print(f"\n{model}: {flops / 1e9:,.2f} GFLOP a step")
    print(f"{'':<10}{'min ms':>10} {'median ms':>10} {'x here min':>11} {'x here':>8}", end="")
    print(f" {'parameters':>12} {'GFLOP/s':>8} {'product':>8}")
    for row in rows:
        ratios = f"{row['min_ratio']:>11.2f} {row['ratio']:>8.2f}" if "ratio" in row else " " * 20
        times = f"{1e3 * row['min']:>10.2f} {1e3 * row['median']:>10.2f}"
        rates = f"{flops / row['min'] / 1e9:>8.0f} {row['product'] / 1e9:>8.0f}"
        print(f"{row['side']:<10}{times} {ratios} {row['parameters']:>12,} {rates}", flush=True)


def panels(models: dict[str, Any]) -> list[Bars]:
    """Return a panel a model: milliseconds of a step, with the range of the medians of the rounds."""
    return [
        Bars(
            name,
            "ms a step",
            {side: [1e3 * statistics.median(turn) for turn in turns] for side, turns in model["seconds"].items()},
            ours=("here",),
        )
        for name, model in models.items()
    ]


def main() -> None:
    """Measure in turn, print a table a model and write both files."""
    parser = parser_of(__doc__, "train_step")
    parser.add_argument("--model", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    add_peer(parser, "torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve", action="store_true", help="be one side: used by this command itself")
    arguments = parser.parse_args()
    if arguments.serve:
        return here(EXPERIMENTS[arguments.model[0]], arguments.threads)
    sides = [side for side in arguments.sides if arguments.peer or side in ("here", "untuned")]
    if sides != arguments.sides:
        without_peer("PyTorch")
    found, models = machine(), dict[str, Any]()
    print(heading(found) + f", {arguments.threads} threads")
    for name in arguments.model:
        models[name] = measured(name, sides, arguments.peer, arguments.threads, arguments.rounds)
        show(name, models[name]["table"], models[name]["flops"])
        content = {"machine": found, "threads": arguments.threads, "models": models}
        write(arguments.output, "train_step", content, panels(models))
    if sides != ["here"]:
        print(f"\ntorch {', '.join({str(model['torch']) for model in models.values()})}")
    say_where(arguments.output, "train_step")


if __name__ == "__main__":
    main()
