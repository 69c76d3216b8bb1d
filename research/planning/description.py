"""An experiment in words: its fields, its layers, and what a step costs."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.experiment import Experiment, fingerprint, spec
from research.fields import children, is_value
from research.kernels.choice import forward_mode
from research.planning.flops import work
from research.planning.lowering import step_jaxpr
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters


def describe(experiment: Experiment) -> str:
    """Return fingerprint, every field, what a batch holds, layers with shapes and parameters, and a step's FLOPs.

    Nothing is trained, and no dataset needs to be prepared. FLOPs are those of the traced step, forward, backward and
    update, on all devices together: two for a multiplication and addition in products, one for any other number.
    """
    state = abstract_state(experiment)
    flops = work(step_jaxpr(experiment)).flops
    return "\n".join(
        [
            f"fingerprint {fingerprint(experiment)}  seed {experiment.seed}",
            "",
            *fields(experiment),
            "batch:",
            *entries(experiment),
            layers(experiment),
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
        shape = f"{item.dtype}[{','.join(map(str, item.shape))}]"
        yield f"  {name}: {shape} {schema.entries.get(name, '')}".rstrip()
    if schema.unit is not None:
        yield f"  several examples are of one {schema.unit}, so they depend on each other"


def layers(experiment: Experiment) -> str:
    """Return linen's table of layers: inputs, outputs and parameters of a batch."""
    batch = {name: jnp.zeros(item.shape, item.dtype) for name, item in spec(experiment).items()}
    inputs = experiment.task.inputs(experiment.model, experiment.data.preprocess(batch))
    table = nn.tabulate(
        experiment.model,
        jax.random.key(0),
        compute_flops=True,
        compute_vjp_flops=True,
        console_kwargs={"width": 140, "force_terminal": False},
    )
    with forward_mode(experiment.forward_mode):
        return table(inputs, train=False)
