"""What the least is that a training step on this CPU could take with XLA's own matrix products and convolutions.

    python -m benchmarks.limits [--model mlp cnn ...] [--peer PYTHON] [--rounds 3] [--output FOLDER]

The models and their steps are those of `benchmarks.train_step`. Every distinct product and convolution of a step is
compiled by itself and timed, which times how often a step runs it is what all of a step's take, were nothing else
computed. If these alone take longer than the whole step of PyTorch, which is timed once where --peer or CETERIS_PEER
names a Python that has it, then no change of the rest could close the gap.

A product is timed as a call, and in a loop inside one program, each turn of which needs a number of the one before, so
that no call is counted; with its inputs in either order too, for XLA may transpose its result. The fastest of these by
a first look is kept. A convolution is timed as a call, some microseconds of which are counted, for inside of loops XLA
leaves its fast path in some layouts. What an operation reads may still be in a cache here and not in a step, and XLA
may choose other layouts there, or fuse what follows: the sum is an estimate of what these cost at their best, no proof.
Each round times all operations and then the steps; `ms` are medians over rounds of the median of a round, and `least`
is of all rounds.
"""

import dataclasses
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.train_step import EXPERIMENTS, SECONDS, WARM_UP, limit, started, warm
from benchmarks.writing import add_peer, parser_of, say_where, without_peer, write
from research.devices.cpu.compiler import compiler_options
from research.devices.cpu.memory import keep_memory
from research.planning.flops import trips, work
from research.planning.lowering import step_jaxpr

TURN = 0.2  # seconds of an operation in a round
PROGRAM = 0.02  # seconds that a loop takes at least
MODELS = ("mlp", "cnn", "resnet18", "lstm", "gpt", "bert")


@dataclasses.dataclass(frozen=True)
class Operation:
    """A matrix product or a convolution: equal ones take equally long."""

    primitive: Primitive
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    parameters: tuple[tuple[str, Any], ...]
    """Sorted by name."""

    def __call__(self, *arrays: jax.Array) -> jax.Array:
        """Compute it."""
        return self.primitive.bind(*arrays, **dict(self.parameters))

    def __str__(self) -> str:
        """Return shapes in words: of a product with its sum, of a convolution rows, columns and channels last."""
        parameters = dict(self.parameters)
        left, right = (array.shape for array in self.inputs)
        if self.is_product:
            return f"dot {_times(left)} * {_times(right)} {_einsum(parameters['dimension_numbers'], left, right)}"
        numbers = parameters["dimension_numbers"]
        batch, channels, *sides = (left[axis] for axis in numbers.lhs_spec)
        outputs, inputs, *taps = (right[axis] for axis in numbers.rhs_spec)
        words = [f"conv {_times((batch, *sides, channels))} * {_times((*taps, inputs, outputs))}"]
        for name, word in (("window_strides", "stride"), ("lhs_dilation", "spread"), ("rhs_dilation", "dilation")):
            if max(parameters[name]) > 1:
                words.append(f"{word} {_times(parameters[name])}")
        for name, word in (("feature_group_count", "groups"), ("batch_group_count", "batch groups")):
            if parameters[name] > 1:
                words.append(f"{word} {parameters[name]}")
        return " ".join(words)

    @property
    def is_product(self) -> bool:
        """Whether it is no convolution."""
        return self.primitive.name == "dot_general"

    def swapped(self) -> "Operation":
        """Return the product with its inputs in the other order."""
        parameters = dict(self.parameters)
        (left, right), (left_batch, right_batch) = parameters["dimension_numbers"]
        parameters["dimension_numbers"] = ((right, left), (right_batch, left_batch))
        return Operation(self.primitive, self.inputs[::-1], tuple(sorted(parameters.items())))

    @property
    def flops(self) -> int:
        """FLOPs of one run."""
        return work(jax.make_jaxpr(self)(*self.inputs)).flops


def _times(shape: Sequence[int]) -> str:
    """Return a shape in short."""
    return "x".join(map(str, shape))


def _einsum(numbers: Any, left: Sequence[int], right: Sequence[int]) -> str:
    """Return the axes of a product as `einsum` has them."""
    (contracted, batch) = numbers
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in left]
    shared = {theirs: first[mine] for pairs in numbers for mine, theirs in zip(*pairs, strict=True)}
    second = [shared.get(axis) or next(letters) for axis in range(len(right))]
    kept = [first[axis] for axis in batch[0]]
    kept += [letter for axis, letter in enumerate(first) if axis not in (*contracted[0], *batch[0])]
    kept += [letter for axis, letter in enumerate(second) if axis not in shared]
    return f"{''.join(first)},{''.join(second)}->{''.join(kept)}"


Counts = Counter[tuple[Operation, str]]
"""How often operations run, by what they are of: "forward" or "gradient"."""


def operations(jaxpr: ClosedJaxpr) -> Counts:
    """Return the products and convolutions that a CPU computes for a traced program.

    The body of a scan counts as often as it runs. Of `platform_dependent` the CPU's branch is taken, of any other
    condition the one with most FLOPs. What no result depends on is left out, as XLA leaves it out.
    """
    inner = jaxpr.jaxpr
    return _operations(inner, [True] * len(inner.outvars), [None] * len(inner.invars), "")[0]


def _operations(
    jaxpr: Jaxpr, wanted: Sequence[bool], branches: Sequence[int | None], of: str
) -> tuple[Counts, list[bool]]:
    """Return the operations for the results that are wanted, and which inputs these depend on.

    `branches` are for each input the branch that it stands for where it comes of `platform_dependent`; `of` is the
    name stack outside.
    """
    chosen: dict[Any, int | None] = dict(zip(jaxpr.invars, branches, strict=True))
    for equation in jaxpr.eqns:
        if equation.primitive.name == "platform_index":
            chosen[equation.outvars[0]] = _branch(equation.params["platforms"])
    needed = {each for each, is_wanted in zip(jaxpr.outvars, wanted, strict=True) if is_wanted and _is_variable(each)}
    found: Counts = Counter()
    for equation in reversed(jaxpr.eqns):
        outputs = [variable in needed for variable in equation.outvars]
        if any(outputs) or equation.effects:
            indices = [chosen.get(each) if _is_variable(each) else None for each in equation.invars]
            stack = f"{of}/{equation.source_info.name_stack}"
            counts, inputs = _inside(equation, outputs, indices, stack)
            found += counts
            pairs = zip(equation.invars, inputs, strict=True)
            needed |= {each for each, is_needed in pairs if is_needed and _is_variable(each)}
    return found, [variable in needed for variable in jaxpr.invars]


def _inside(
    equation: Any, outputs: Sequence[bool], branches: Sequence[int | None], of: str
) -> tuple[Counts, Sequence[bool]]:
    """Return the operations of one equation and which of its inputs it needs."""
    parameters, every = equation.params, [True] * len(equation.invars)
    match equation.primitive.name:
        case "dot_general" | "conv_general_dilated":
            inputs = tuple(jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in equation.invars)
            operation = Operation(equation.primitive, inputs, tuple(sorted(parameters.items())))
            return Counter({(operation, "gradient" if "transpose(" in of else "forward"): 1}), every
        case "scan":
            body = parameters["jaxpr"].jaxpr
            found, _ = _operations(body, [True] * len(body.outvars), branches, of)
            return _repeated(found, parameters["length"]), every
        case "while":
            body = parameters["body_jaxpr"].jaxpr
            before = parameters["cond_nconsts"]
            found, _ = _operations(body, [True] * len(body.outvars), branches[before:], of)
            return _repeated(found, trips(equation) or 1), every
        case "cond":
            platforms = parameters.get("branches_platforms")  # as jax has it from 0.12 on
            branch = _branch(platforms) if platforms else branches[0]
            if branch is None:
                branch = int(np.argmax([work(each).flops for each in parameters["branches"]]))
            found, needed = _operations(parameters["branches"][branch].jaxpr, outputs, branches[1:], of)
            return found, [True, *needed]
    for inner in parameters.values():
        inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        if isinstance(inner, Jaxpr) and len(inner.invars) == len(every) and len(inner.outvars) == len(outputs):
            return _operations(inner, outputs, branches, of)
    return Counter(), every


def _is_variable(each: Any) -> bool:
    """Return whether it is no constant."""
    return not isinstance(each, Literal)


def _branch(platforms: Sequence[Sequence[str] | None]) -> int:
    """Return the branch of a CPU; None stands for all platforms that no other branch names."""
    return next(index for index, names in enumerate(platforms) if names is None or "cpu" in names)


def _repeated(counts: Counts, times: int) -> Counts:
    """Return the counts of so many runs."""
    return Counter({key: times * count for key, count in counts.items()})


def timer(operation: Operation) -> Callable[[], list[float]]:
    """Return a function that runs an operation for a turn and returns the seconds that one run took, each time."""
    timed = _call(operation)
    if operation.is_product:
        ways = [timed, _loop(operation), _call(operation.swapped()), _loop(operation.swapped())]
        timed = min(ways, key=lambda way: min(_turn(way, TURN)))
    for _ in range(WARM_UP):
        timed()
    return lambda: _turn(timed, TURN)


def _drawn(operation: Operation) -> list[jax.Array]:
    """Return random inputs."""
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(each.shape), each.dtype) for each in operation.inputs]


def _turn(timed: Callable[[], float], seconds: float) -> list[float]:
    """Return what some calls returned, at least three and for so many seconds."""
    end = time.perf_counter() + seconds
    found: list[float] = []
    while len(found) < 3 or time.perf_counter() < end:
        found.append(timed())
    return found


def _call(operation: Operation) -> Callable[[], float]:
    """Return a function that runs an operation once and returns its seconds."""
    compiled, (left, right) = jax.jit(operation, compiler_options=compiler_options()), _drawn(operation)
    compiled(left, right)

    def timed() -> float:
        """Time a call."""
        start = time.perf_counter()
        compiled(left, right).block_until_ready()
        return time.perf_counter() - start

    return timed


def _loop(operation: Operation) -> Callable[[], float]:
    """Return a function that runs an operation often enough in one program and returns the seconds of one run."""

    # The first input is given away and comes back, so the loop changes it in place; XLA keeps a product with zero, for
    # it does not know that all numbers are finite, and behind the barrier it computes all of the output.
    def repeated(count: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        """Run it `count` times."""

        def once(_: jax.Array, left: jax.Array) -> jax.Array:
            """Run it and change an element of its first input by zero times one of its output."""
            output = jax.lax.optimization_barrier(operation(left, right))
            first = left[(slice(0, 1),) * left.ndim]
            changed = first + 0 * output[(0,) * output.ndim].astype(left.dtype)
            return jax.lax.dynamic_update_slice(left, changed, (0,) * left.ndim)

        return jax.lax.fori_loop(0, count, once, left)

    compiled, count = jax.jit(repeated, donate_argnums=1, compiler_options=compiler_options()), 1
    left, right = _drawn(operation)

    def program() -> float:
        """Return the seconds of a call of the program."""
        nonlocal left
        start = time.perf_counter()
        left = compiled(count, left, right).block_until_ready()
        return time.perf_counter() - start

    program()
    while program() < PROGRAM:
        count *= 2
    return lambda: program() / count


def measured(model: str, rounds: int) -> dict[str, Any]:
    """Return rows of a model's operations and the seconds of both, by round; the most expensive are first."""
    counts: dict[Operation, dict[str, int]] = {}
    for (operation, of), count in operations(step_jaxpr(EXPERIMENTS[model])).items():
        counts.setdefault(operation, {})[of] = count
    timers = {operation: timer(operation) for operation in counts}
    step, _ = warm(EXPERIMENTS[model])
    turns: dict[Operation, list[list[float]]] = {operation: [] for operation in counts}
    steps: list[list[float]] = []
    for _ in range(rounds):
        for operation, run in timers.items():
            turns[operation].append(run())
        steps.append(_turn(step, SECONDS))
    rows = [row(operation, counts[operation], turns[operation]) for operation in counts]
    sums = [sum(each["count"] * each["rounds"][index] for each in rows) for index in range(rounds)]
    return {
        "table": sorted(rows, key=lambda each: -each["count"] * each["seconds"]),
        "operations": sums,
        "least": {"operations": sum(each["count"] * each["least"] for each in rows), "step": min(map(min, steps))},
        "steps": steps,
    }


def row(operation: Operation, counts: dict[str, int], turns: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the row of an operation that runs so often forward and in gradients; all times are of one run."""
    middles = [statistics.median(turn) for turn in turns]
    return {
        "operation": str(operation),
        "of": " and ".join(sorted(counts)),
        "count": sum(counts.values()),
        "flops": operation.flops,
        "seconds": statistics.median(middles),
        "least": min(map(min, turns)),
        "rounds": middles,
    }


def peer_step(model: str, peer: str, threads: int) -> dict[str, Any]:
    """Return the seconds of PyTorch's steps in one turn, and its version."""
    with started(model, ["torch"], peer, threads) as running:
        return {"torch": running["torch"].take(), "torch_version": running["torch"].found["torch"]}


def show(model: str, found: dict[str, Any]) -> None:
    """Print the table of a model and what its step takes; what is below a hundredth of the sum is in one line."""
    total = sum(each["count"] * each["seconds"] for each in found["table"])
    width = max(len(each["operation"]) for each in found["table"])
    print(f"\n{model:<{width}} {'of':<20} {'count':>6} {'GFLOP':>9} {'ms each':>9}", end="")
    print(f" {'least':>9} {'GFLOP/s':>8} {'ms a step':>10}")
    rest = total
    for each in found["table"]:
        spent = each["count"] * each["seconds"]
        if spent < total / 100:
            break
        rest -= spent
        print(f"{each['operation']:<{width}} {each['of']:<20} {each['count']:>6,} {each['flops'] / 1e9:>9.4f}", end="")
        print(f" {1e3 * each['seconds']:>9.3f} {1e3 * each['least']:>9.3f}", end="")
        print(f" {each['flops'] / each['seconds'] / 1e9:>8.0f} {1e3 * spent:>10.2f}")
    print(f"{'the rest, each below 1 %':<{width}} {1e3 * rest:>77.2f}")
    alone = 1e3 * statistics.median(found["operations"])
    step = 1e3 * statistics.median(map(statistics.median, found["steps"]))
    least = {name: 1e3 * seconds for name, seconds in found["least"].items()}
    print(
        f"products and convolutions alone take {alone:.2f} of {step:.2f} ms, {alone / step:.0%} of the step "
        f"(at the least {least['operations']:.2f} of {least['step']:.2f} ms)"
    )
    if torch := found.get("torch"):
        middle, fastest = 1e3 * statistics.median(torch), 1e3 * min(torch)
        print(f"PyTorch's whole step takes {middle:.2f} ms (at the least {fastest:.2f})")
    sys.stdout.flush()


def panels(models: dict[str, Any]) -> list[Bars]:
    """Return a panel a model: milliseconds of the operations alone, of the step and of PyTorch's."""
    found = []
    for name, model in models.items():
        sides = {"alone": model["operations"], "step": [statistics.median(turn) for turn in model["steps"]]}
        if "torch" in model:
            sides["torch"] = [statistics.median(model["torch"])]
        milliseconds = {side: [1e3 * each for each in seconds] for side, seconds in sides.items()}
        found.append(Bars(name, "ms a step", milliseconds, ("alone", "step")))
    return found


def main() -> None:
    """Measure, print a table a model and write both files."""
    parser = parser_of(__doc__, "limits")
    parser.add_argument("--model", nargs="+", choices=EXPERIMENTS, default=list(MODELS))
    add_peer(parser, "torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    limit(arguments.threads)
    keep_memory()
    if not arguments.peer:
        without_peer("PyTorch")
    found, models = machine(), dict[str, Any]()
    print(heading(found) + f", {arguments.threads} threads")
    for name in arguments.model:
        models[name] = measured(name, arguments.rounds)
        if arguments.peer:
            models[name] |= peer_step(name, arguments.peer, arguments.threads)
        show(name, models[name])
        write(
            arguments.output,
            "limits",
            {"machine": found, "threads": arguments.threads, "models": models},
            panels(models),
        )
    say_where(arguments.output, "limits")


if __name__ == "__main__":
    main()
