"""How fast a GPT writes: with the keys and values of former tokens kept, and reading the whole text for every token.

    python -m benchmarks.decode [--batch 1 8] [--tokens 512] [--rounds 3]

Both sides are one compiled call that writes all tokens, always the likeliest one, after a first token that is given:

cached      `start` and `step` of the model, through `research.layers.sequences.sampling.generate`
uncached    the model is called with a text of the full length for each token, and the next one read off at its place

That both write the same is asserted. The weights are random.
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
from research.devices.cpu.memory import keep_memory
from research.layers.sequences.sampling import generate
from research.models import TransformerLanguageModel

Writer = Callable[[Any, jax.Array], jax.Array]


def model_of(tokens: int) -> TransformerLanguageModel:
    """Return a GPT with room for so many tokens."""
    return TransformerLanguageModel(vocabulary=65, layers=4, width=256, heads=4, max_length=tokens, positions="learned")


def writers(model: TransformerLanguageModel) -> dict[str, Writer]:
    """Return by side what writes `max_length` tokens after the first ones: variables, [b] -> int32 [b, max_length]."""
    steps = model.max_length

    def cached(variables: Any, first: jax.Array) -> jax.Array:
        bound = model.bind(variables)
        cache, logits = bound.start(first[:, None], capacity=steps)
        return generate(bound.step, cache, logits, jax.random.key(0), steps, temperature=0.0)

    def uncached(variables: Any, first: jax.Array) -> jax.Array:
        def body(index: jax.Array, text: jax.Array) -> jax.Array:
            """Write the token after the one at `index`; causality hides what is not written yet."""
            logits = model.apply(variables, text[:, :steps])[:, index]  # [b, v]
            return text.at[:, index + 1].set(logits.argmax(axis=-1).astype(jnp.int32))

        text = jnp.zeros((len(first), steps + 1), jnp.int32).at[:, 0].set(first)
        return jax.lax.fori_loop(0, steps, body, text)[:, 1:]

    return {"cached": cached, "uncached": uncached}


def measured(model: TransformerLanguageModel, b: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of each round by side, and the table of them."""
    first = jnp.arange(b, dtype=jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), first[:, None])
    compiled = {side: jax.jit(each).lower(variables, first).compile() for side, each in writers(model).items()}
    seconds: dict[str, list[list[float]]] = {side: [] for side in compiled}
    written: dict[str, jax.Array] = {}
    for _, side in in_turn(list(compiled), rounds):
        start = time.perf_counter()
        written[side] = jax.block_until_ready(compiled[side](variables, first))
        seconds[side].append([time.perf_counter() - start])
    assert written["cached"].shape == (b, model.max_length)
    assert (written["cached"] == written["uncached"]).all(), "the sides write different texts"
    return {"batch": b, "tokens": model.max_length, "table": compare(seconds, "cached"), "seconds": seconds}


def speeds(found: dict[str, Any]) -> dict[str, list[float]]:
    """Return tokens a second of each round, of all rows together."""
    n = found["batch"] * found["tokens"]
    return {side: [n / one for (one,) in rounds] for side, rounds in found["seconds"].items()}


def show(found: dict[str, Any]) -> None:
    """Print a row a side."""
    n = found["batch"] * found["tokens"]
    for side, row in found["table"].items():
        times = f"{row['min']:>9.2f} {row['median']:>9.2f} {n / row['min']:>14.0f} {n / row['median']:>8.0f}"
        print(f"{found['batch']:>6} {side:<9}{times} {row['min_ratio']:>14.1f} {row['ratio']:>9.1f}", flush=True)


def main() -> None:
    """Measure in turn, print a row a side and write both files."""
    parser = parser_of(__doc__, "decode")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_memory()
    on, rows = machine(), []
    print(heading(on))
    print(f"{'batch':>6} {'side':<9}{'s, min':>9} {'median':>9} {'tokens/s, best':>14} {'median':>8}", end="")
    print(f" {'x cached, min':>14} {'x cached':>9}")
    for b in arguments.batch:
        rows.append(measured(model_of(arguments.tokens), b, arguments.rounds))
        show(rows[-1])
        panels = [
            Bars(f"batch of {row['batch']}, {row['tokens']} tokens", "tokens a second", speeds(row), ours=("cached",))
            for row in rows
        ]
        write(arguments.output, "decode", {"machine": on, "rows": rows}, panels)
    say_where(arguments.output, "decode")


if __name__ == "__main__":
    main()
