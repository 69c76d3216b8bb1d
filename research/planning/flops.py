"""Floating point operations of a traced program, counted from its jaxpr: of any device, before anything is compiled."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# What only moves, makes or renames values is no arithmetic. Everything else counts one for each element that it
# computes: XLA's convention, but that a transcendental function counts one too.
MOVES = frozenset(
    (
        "bitcast_convert_type",
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "copy_p",
        "device_put",
        "dynamic_slice",
        "dynamic_update_slice",
        "expand_dims",
        "gather",
        "iota",
        "optimization_barrier",
        "pad",
        "pcast",
        "pvary",
        "random_bits",
        "random_clone",
        "random_fold_in",
        "random_seed",
        "random_unwrap",
        "random_wrap",
        "reduce_precision",
        "reshape",
        "rev",
        "scatter",
        "select_n",
        "sharding_constraint",
        "slice",
        "split",
        "squeeze",
        "stop_gradient",
        "threefry2x32",
        "transpose",
    )
)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a program computes.

    FLOPs of matrix products and convolutions, two for each multiplication and addition, by the precision of what they
    multiply: `half` of 16 bits or fewer, `single` of more; `elementwise` of all else. `traffic` in bytes is what these
    products read and write. `open_loops` are loops of unknown length, which count as if they ran once.
    """

    half: int = 0
    single: int = 0
    elementwise: int = 0
    traffic: int = 0
    open_loops: int = 0

    @property
    def flops(self) -> int:
        """FLOPs altogether."""
        return self.half + self.single + self.elementwise

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.half + other.half,
            self.single + other.single,
            self.elementwise + other.elementwise,
            self.traffic + other.traffic,
            self.open_loops + other.open_loops,
        )

    def times(self, count: int) -> "Work":
        """Return the work of so many repetitions; a loop in them is still one loop."""
        return Work(
            self.half * count, self.single * count, self.elementwise * count, self.traffic * count, self.open_loops
        )


def work(jaxpr: Jaxpr | ClosedJaxpr) -> Work:
    """Return what a traced program computes.

    The body of a scan counts as often as it runs, of a condition the branch with most FLOPs; what is inside jit, remat,
    derivatives and kernels is counted, and what `shard_map` divides is counted for all devices. Reading a convolution
    beyond the edge counts, as in published figures; the zeros that dilation puts in between do not.
    """
    return sum((_work(equation) for equation in equations(jaxpr)), Work())


def equations(jaxpr: Jaxpr | ClosedJaxpr) -> Sequence[Any]:
    """Return the operations of a program."""
    return (jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr).eqns


def _work(equation: Any) -> Work:
    """Return the work of one equation."""
    own, inside, count = parts(equation)
    return sum((work(each) for each in inside), own).times(count)


def parts(equation: Any) -> tuple[Work, Sequence[Jaxpr | ClosedJaxpr], int]:
    """Return the work of an equation without the programs inside it, these, and how often all of that is done."""
    parameters = equation.params
    match equation.primitive.name:
        case "dot_general":
            return _product(equation, _dot_flops(equation)), (), 1
        case "conv_general_dilated":
            return _product(equation, _convolution_flops(equation)), (), 1
        case "scan":
            return Work(), (parameters["jaxpr"],), parameters["length"]
        case "while":
            count, body = trips(equation), (parameters["body_jaxpr"], parameters["cond_jaxpr"])
            return (Work(open_loops=1), body, 1) if count is None else (Work(), body, count)
        case "cond":
            return Work(), (max(parameters["branches"], key=lambda branch: work(branch).flops),), 1
        case "shard_map":
            devices = math.prod(parameters["mesh"].shape[axis] for axis in parameters["newly_manual_axes"])
            return Work(), (parameters["jaxpr"],), devices
        case "pallas_call":
            return Work(), (parameters["jaxpr"],), math.prod(parameters["grid_mapping"].grid)
    inside = tuple(parameter for parameter in parameters.values() if isinstance(parameter, Jaxpr | ClosedJaxpr))
    # The program inside a reduction is that of one pair of elements.
    if inside and not equation.primitive.name.startswith(("reduce", "scatter", "sort", "cum", "arg")):
        return Work(), inside, 1
    return Work(elementwise=_elements(equation)), (), 1


def _elements(equation: Any) -> int:
    """Return how many elements an equation computes: of a reduction, how many it takes in."""
    name = equation.primitive.name
    if name in MOVES:
        return 0
    if name.startswith("scatter"):  # the updates are added; the rest stays
        return int(equation.invars[2].aval.size)
    counted = equation.invars[:1] if name.startswith(("reduce", "arg")) else equation.outvars[:1]
    return sum(getattr(variable.aval, "size", 0) for variable in counted)


def _product(equation: Any, flops: int) -> Work:
    """Return the work of a matrix product or a convolution."""
    arrays = [variable.aval for variable in (*equation.invars[:2], *equation.outvars)]
    traffic = sum(array.size * array.dtype.itemsize for array in arrays)
    wide = max(array.dtype.itemsize for array in arrays[:2]) > 2
    return Work(single=flops, traffic=traffic) if wide else Work(half=flops, traffic=traffic)


def _dot_flops(equation: Any) -> int:
    """Return the FLOPs of `dot_general`: two for each term of each sum."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 2 * equation.outvars[0].aval.size * terms


def _convolution_flops(equation: Any) -> int:
    """Return the FLOPs of a convolution, grouped or not; taps that meet a zero of input dilation are left out."""
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    kernel, output = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    taps = math.prod(
        _taps(output[out], kernel[tap], stride, low, spread, dilation)
        for out, tap, stride, (low, _), spread, dilation in zip(
            numbers.out_spec[2:],
            numbers.rhs_spec[2:],
            parameters["window_strides"],
            parameters["padding"],
            parameters["lhs_dilation"],
            parameters["rhs_dilation"],
            strict=True,
        )
    )
    batch, channels = (output[axis] for axis in numbers.out_spec[:2])
    inputs = kernel[numbers.rhs_spec[1]]  # of one group
    return 2 * batch * channels * inputs * taps


def _taps(outputs: int, kernel: int, stride: int, low: int, spread: int, dilation: int) -> int:
    """Return how many (output, tap) pairs along one side meet an input, rather than a zero that dilation put in."""
    if spread == 1:
        return outputs * kernel
    places = stride * np.arange(outputs)[:, None] + dilation * np.arange(kernel)[None, :] - low
    return int((places % spread == 0).sum())


def trips(equation: Any) -> int | None:
    """Return how often a while loop runs that counts up from one constant to another; None for any other."""
    condition, body = (equation.params[name].jaxpr for name in ("cond_jaxpr", "body_jaxpr"))
    before = len(equation.params["cond_jaxpr"].jaxpr.invars) - len(equation.outvars)
    test = next((each for each in condition.eqns if each.outvars[0] is condition.outvars[0]), None)
    if test is None or test.primitive.name != "lt" or test.invars[0] not in condition.invars:
        return None
    index = condition.invars.index(test.invars[0]) - before
    first = len(equation.invars) - len(equation.outvars)
    begin, end = _constant(equation.invars[first + index]), _constant(test.invars[1])
    counter = body.invars[len(body.invars) - len(body.outvars) + index]
    update = next((each for each in body.eqns if each.outvars[0] is body.outvars[index]), None)
    if update is None or update.primitive.name != "add" or counter not in update.invars:
        return None
    step = next((_constant(variable) for variable in update.invars if variable is not counter), None)
    if begin is None or end is None or not step or step < 0:
        return None
    return max(0, math.ceil((end - begin) / step))


def _constant(variable: Any) -> int | None:
    """Return the integer that a variable stands for, None where it is computed."""
    if not isinstance(variable, Literal) or not np.issubdtype(np.asarray(variable.val).dtype, np.integer):
        return None
    return int(variable.val)
