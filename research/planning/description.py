"""An experiment in words: its fields, its layers, and what a step costs."""

from collections.abc import Iterator
from typing import Any

import jax

from research.experiment import Experiment, fingerprint, spec
from research.fields import children, is_value
from research.planning.flops import work
from research.planning.layers import layers, shape, table
from research.planning.lowering import step_jaxpr
from research.training.update.shapes import abstract_state, shapes
from research.training.update.state import count_parameters


def describe(experiment: Experiment) -> str:
    """Return fingerprint, every field, what a batch holds, layers with shapes and parameters, and a step's FLOPs.

    Nothing is trained, and no dataset needs to be prepared. FLOPs are those of the traced step, forward, backward and
    update, on all devices together: two for a multiplication and addition in products, one for any other number.
    """
    state = shapes(experiment).state
    step = step_jaxpr(experiment)
    flops = work(step).flops
    return "\n".join(
        [
            f"fingerprint {fingerprint(experiment)}  seed {experiment.seed}",
            "",
            *fields(experiment),
            "batch:",
            *entries(experiment),
            "",
            *table(layers(experiment, step)),
            "",
            f"parameters {count_parameters(state):,}",
            *(
                f"reference {name}, frozen: parameters {count_parameters(abstract_state(source)):,}"
                for name, source in experiment.references
            ),
            f"FLOPs of a training step {flops:,} ({flops / experiment.batch_size:,.0f} an example)",
        ]
    )


def fields(node: Any, indent: str = "") -> Iterator[str]:
    """Yield a line per field: name and value, nested values below their class."""
    for name, child, _ in children(node):
        yield f"{indent}{name}: {type(child).__name__ if is_value(child) else repr(child)}"
        if is_value(child):
            yield from fields(child, indent + "  ")


def entries(experiment: Experiment) -> Iterator[str]:
    """Yield a line per entry of a prepared batch: its shape, and what it means; and one on the unit that repeats."""
    schema = experiment.data.schema()
    for name, item in jax.eval_shape(experiment.data.preprocess, spec(experiment)).items():
        yield f"  {name}: {shape(item)} {schema.entries.get(name, '')}".rstrip()
    if schema.unit is not None:
        yield f"  several examples are of one {schema.unit}, so they depend on each other"
