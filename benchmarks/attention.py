"""Which form of attention a CPU computes fastest and in how little memory: all at once, or blocks of queries.

    python -m benchmarks.attention [--length 32 64 128 256 512 1024 2048] [--window 64] [--rounds 5]

Value and gradient of causal attention with four heads of eight features, as many sequences as have 2,048 tokens:

jax         `jax.nn.dot_product_attention`
at once     the products of the matrices of each head
64 to 512   so many queries at a time

Then one sequence with a window. Sides are measured in turn, each of them several times in a round; printed are the
least milliseconds, how many times those of `jax`, the median over rounds, and megabytes besides arguments and results.
`research.kernels.attention` holds what is chosen for it as constants, so that numbers depend on no measurement.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import parser_of, say_where, write
from research.devices.cpu.compiler import compiler_options
from research.devices.cpu.memory import keep_memory
from research.kernels.attention import at_once, attend, block_size
from research.kernels.attention_blocks import Blocks, in_blocks
from research.kernels.choice import forward_mode

TOKENS = 2048  # of all sequences, so that a round of every length takes a like time
HEADS, FEATURES = 4, 8
SIZES = (64, 128, 256, 512)
AT_LEAST = 0.03  # seconds of a turn

Form = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def forms(length: int, window: int | None) -> dict[str, Form]:
    """Return by side what attends."""

    def by_jax(*inputs: jax.Array) -> jax.Array:
        with forward_mode(True):  # which leaves all to `jax.nn`
            return attend(*inputs, causal=True, window=window)

    def in_blocks_of(size: int) -> Form:
        return lambda *inputs: in_blocks(Blocks(length, length, size, True, window), *inputs, None, None)

    def together(*inputs: jax.Array) -> jax.Array:
        return at_once(*inputs, None, None, True, window)

    return {"jax": by_jax, "at once": together} | {str(n): in_blocks_of(n) for n in SIZES if n <= length}


def compiled(form: Form, b: int, length: int) -> Any:
    """Return the program of a form's value and gradients."""
    x = jax.ShapeDtypeStruct((b, length, HEADS, FEATURES), jnp.float32)

    def loss(weight: jax.Array, *inputs: jax.Array) -> jax.Array:
        return jnp.vdot(weight, form(*inputs))

    lowered = jax.jit(jax.value_and_grad(loss, argnums=(1, 2, 3))).lower(x, x, x, x)
    return lowered.compile(compiler_options=compiler_options())


def measured(length: int, window: int | None, rounds: int) -> dict[str, Any]:
    """Return the milliseconds of each round by side, the table of them, and megabytes."""
    b = 1 if window else max(1, TOKENS // length)
    programs = {side: compiled(form, b, length) for side, form in forms(length, window).items()}
    inputs = [jax.random.normal(jax.random.key(i), (b, length, HEADS, FEATURES)) for i in range(4)]
    values = {side: float(program(*inputs)[0]) for side, program in programs.items()}
    assert all(abs(value - values["jax"]) < 1e-3 * max(1, abs(values["jax"])) for value in values.values()), values

    def turn(program: Any, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            jax.block_until_ready(program(*inputs))
        return (time.perf_counter() - start) / times

    times = {side: max(1, round(AT_LEAST / turn(program, 1))) for side, program in programs.items()}
    milliseconds: dict[str, list[list[float]]] = {side: [] for side in programs}
    for _, side in in_turn(list(programs), rounds):
        milliseconds[side].append([1e3 * turn(programs[side], times[side])])
    return {
        "length": length,
        "batch": b,
        "window": window,
        "chosen": block_size(length, length, window),
        "table": compare(milliseconds, "jax"),
        "megabytes": {side: each.memory_analysis().temp_size_in_bytes / 1e6 for side, each in programs.items()},
        "milliseconds": milliseconds,
    }


def show(found: dict[str, Any]) -> None:
    """Print a row a side, with a star at the one that is chosen."""
    chosen = "at once" if found["chosen"] is None else str(found["chosen"])
    for side, row in found["table"].items():
        print(
            f"{found['length']:>6} {found['window'] or '-':>6} {side + ('*' if side == chosen else ''):<9}"
            f"{row['min']:>9.2f} {row['min_ratio']:>7.2f} {row['ratio']:>7.2f} {found['megabytes'][side]:>8.1f}",
            flush=True,
        )


def main() -> None:
    """Measure in turn, print a row a side and write both files."""
    parser = parser_of(__doc__, "attention")
    parser.add_argument("--length", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keep_memory()
    on, rows = machine(), []
    print(heading(on))
    print(f"{'length':>6} {'window':>6} {'side':<9}{'ms, min':>9} {'x, min':>7} {'x jax':>7} {'MB':>8}")
    for window in (None, arguments.window):
        for length in arguments.length:
            rows.append(measured(length, window, arguments.rounds))
            show(rows[-1])
    panels = []
    for row in rows:
        title = f"{row['length']} tokens" + (f", window {row['window']}" if row["window"] else "")
        sides = {side: [each for (each,) in turns] for side, turns in row["milliseconds"].items()}
        chosen = "at once" if row["chosen"] is None else str(row["chosen"])
        panels.append(Bars(title, "ms", sides, ours=(chosen,), log=True))
    write(arguments.output, "attention", {"machine": on, "rows": rows}, panels)
    say_where(arguments.output, "attention")


if __name__ == "__main__":
    main()
