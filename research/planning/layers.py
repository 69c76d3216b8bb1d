"""The layers of an experiment's model: what they give, their parameters, and their part of a training step's FLOPs."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, Jaxpr

from research.experiment import Experiment, spec
from research.kernels.choice import forward_mode
from research.planning.flops import equations, parts
from research.training.update.shapes import shapes

Path = tuple[str, ...]
FORWARD, BACKWARD = 0, 1


@dataclasses.dataclass
class Layer:
    """A module of the model where it is called first, and the FLOPs of all its calls in one training step.

    What belongs to a module within it counts there and here. FLOPs of the backward direction are gradients, and what is
    computed anew for them.
    """

    path: Path
    module: str
    outputs: list[str]
    parameters: dict[str, jax.ShapeDtypeStruct]
    """Its own, by name, without those of modules within it."""
    size: int = 0
    """Number of all its parameters, with those of modules within it."""
    flops: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    """Forward and backward."""


def layers(experiment: Experiment, step: ClosedJaxpr) -> list[Layer]:
    """Return the layers of a model in the order of their calls, the model itself first.

    Args:
        experiment: whose model it is; it is called with abstract arrays, so nothing is computed.
        step: the operations of its training step. Those that JAX names after a module, and that are differentiated, are
            that module's: what other networks compute, such as a teacher, is nobody's here.
    """
    found = _called(experiment)
    for path, (forward, backward) in _flops(step, found).items():
        for depth in range(len(path) + 1):
            found[path[:depth]].flops[FORWARD] += forward
            found[path[:depth]].flops[BACKWARD] += backward
    return list(found.values())


def table(found: list[Layer]) -> Iterator[str]:
    """Yield a line a layer under a line of names: path, module, output, parameters, FLOPs; and its own arrays below."""
    rows = [("layer", "module", "output", "parameters", "forward", "backward")]
    for layer in found:
        outputs = " ".join(layer.outputs[:2]) + (" ..." if len(layer.outputs) > 2 else "")
        flops = (f"{layer.flops[FORWARD]:,}", f"{layer.flops[BACKWARD]:,}")
        rows.append(("/".join(layer.path) or "model", layer.module, outputs, f"{layer.size:,}", *flops))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, of in zip(rows, [None, *found], strict=True):
        padded = zip(row, widths, strict=True)
        words = [text.ljust(width) if index < 3 else text.rjust(width) for index, (text, width) in enumerate(padded)]
        yield "  ".join(words).rstrip()
        for name, array in of.parameters.items() if of else ():
            yield f"    {name} {shape(array)}"


def shape(array: Any) -> str:
    """Return type and shape of an array in words: float32[3,3,1,32]."""
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _called(experiment: Experiment) -> dict[Path, Layer]:
    """Return the modules of a model by path, in the order in which they are called."""
    found: dict[Path, Layer] = {}
    state = shapes(experiment).state
    parameters = flatten_dict(state.params)

    def note(call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        """Write down a call of a module, and make it."""
        module, path = context.module, context.module.path
        layer = Layer(path, type(module).__name__, [], {}) if path not in found else None
        if layer is not None:
            found[path] = layer
        outputs = call(*arguments, **keywords)
        if layer is not None:
            layer.outputs = arrays(outputs)
        return outputs

    def forward(variables: Mapping[str, Any], batch: Any) -> Any:
        """Call the model as an evaluation does."""
        inputs = experiment.task.inputs(experiment.model, experiment.data.preprocess(batch))
        with nn.intercept_methods(note):
            return experiment.model.apply(variables, inputs, train=False)

    with forward_mode(experiment.forward_mode):
        jax.eval_shape(forward, {"params": state.params, **state.variables}, spec(experiment))
    for path, layer in found.items():
        within = {name: array for name, array in parameters.items() if name[: len(path)] == path}
        layer.size = sum(math.prod(array.shape) for array in within.values())
        layer.parameters = {name[-1]: array for name, array in within.items() if name[:-1] == path}
    return found


def arrays(tree: Any) -> list[str]:
    """Return type and shape of the arrays in a tree, in words."""
    return [shape(leaf) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]


def _flops(step: Jaxpr | ClosedJaxpr, modules: Mapping[Path, Layer]) -> dict[Path, list[int]]:
    """Return forward and backward FLOPs of a training step by the innermost module that they belong to."""
    found: dict[Path, list[int]] = collections.defaultdict(lambda: [0, 0])

    def add(program: Jaxpr | ClosedJaxpr, path: Path | None, derived: frozenset[str], times: int) -> None:
        """Add what a program computes that is run so many times inside a module, or none, under some transforms."""
        for equation in equations(program):
            # Such as "transpose(jvp(CNN))/block_0/Conv_0".
            stack, within = str(equation.source_info.name_stack), path
            transforms = derived.union(re.findall(r"(\w+)\(", stack))
            for name in re.split(r"[/()]+", stack):
                # A method but `__call__` is named behind its module, and other scopes lie between those of modules.
                if (name := name.partition(".")[0]) == modules[()].module:
                    within = ()
                elif within is not None and (*within, name) in modules:
                    within = (*within, name)
            own, inside, count = parts(equation)
            if "jvp" in transforms and within is not None:
                found[within]["transpose" in transforms] += own.flops * times * count
            for each in inside:
                add(each, within, transforms, times * count)

    add(step, None, frozenset(), 1)
    return found
