import pathlib
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.cells import GATES, STATES, Cell, cell_functions, unroll
from research.layers.sequences.recurrence import Recurrence, StackedRecurrence

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "recurrent.npz")
CELLS = get_args(Cell)
KINDS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]
B, L, D, H = 5, 7, 3, 11
X = np.random.default_rng(0).normal(size=(B, L, D)).astype(np.float32)
LENGTHS = np.array([4, 7, 1, 6, 3], np.int32)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def apply(model, *inputs, **keywords):
    """What a model gives, compiled as one program."""
    return jax.jit(partial(model.apply, **keywords))(*inputs)


def randomized(model, *inputs, seed=0, **keywords):
    """Parameters of the model's shapes, biases random too."""
    shapes = jax.eval_shape(partial(model.init, **keywords), jax.random.key(0), *inputs)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.4, leaf.dtype), shapes)


def ours(case, layers, directions, prefix=""):
    """Parameters, or with prefix "grad_" gradients, of a PyTorch layer in our layout."""
    gradient, params = bool(prefix), {}
    for layer in range(layers):
        for name, suffix in zip(directions, ("", "_reverse"), strict=False):
            w, u, bias, inner = (
                GOLDEN[f"{case}.{prefix}{part}_l{layer}{suffix}"]
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            direction = {"recurrent_kernel": u.T}
            h = u.shape[1]
            if case.startswith("gru"):  # its candidate keeps the two biases apart; the others have their sum
                direction["recurrent_bias"] = inner[2 * h :]
                inner = np.concatenate([inner[: 2 * h], np.zeros(h, np.float32)])
            direction["input"] = {"kernel": w.T, "bias": bias if gradient else bias + inner}
            params.setdefault(f"layer_{layer}", {})[name] = direction
    return params


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_equal_those_of_pytorch(kind, packed):
    case = f"{kind}_{'packed' if packed else 'plain'}"
    cell, _, nonlinearity = kind.partition("_")
    states, layers = (2 if cell == "lstm" else 1), (2 if packed else 1)
    directions = ("forward", "backward") if packed else ("forward",)
    model = StackedRecurrence(2, layers, cell, bidirectional=packed, nonlinearity=nonlinearity or "tanh")
    get = lambda name: GOLDEN[f"{case}.{name}"]  # noqa: E731

    def nested(prefix):
        """PyTorch's [layer x direction, b, h] arrays as our carry."""
        arrays = [get(f"{prefix}_{index}") for index in range(states)]
        return tuple(
            tuple(tuple(array[layer * len(directions) + one] for array in arrays) for one in range(len(directions)))
            for layer in range(layers)
        )

    lengths = GOLDEN["lengths"] if packed else None
    start = nested("start") if packed else model.initial_carry(5)

    def loss(params, x, start):
        outputs, end = model.apply({"params": params}, x, lengths, start)
        weighted = jax.tree.map(lambda w, s: (w * s).sum(), nested("state_weight"), end)
        return (get("weight") * outputs).sum() + sum(jax.tree.leaves(weighted)), (outputs, end)

    params = ours(case, layers, directions)
    gradients, (outputs, end) = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params, get("x"), start)
    close(outputs, get("outputs"))
    jax.tree.map(close, end, nested("end"))
    jax.tree.map(close, gradients[0], ours(case, layers, directions, "grad_"))
    close(gradients[1], get("grad_x"))
    if packed:
        jax.tree.map(close, gradients[2], nested("grad_start"))
        assert not outputs[np.arange(L)[None] >= lengths[:, None]].any()


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_are_two_runs_one_of_them_reversed(cell):
    both, one = Recurrence(H, cell, bidirectional=True), Recurrence(H, cell)
    params = randomized(both, X)["params"]
    outputs, carry = apply(both, {"params": params}, X, LENGTHS)
    for row in (0, 2):
        length = LENGTHS[row]
        x = X[row : row + 1, :length]
        forward, end = apply(one, {"params": {"forward": params["forward"]}}, x)
        close(outputs[row, :length, :H], forward[0])
        jax.tree.map(lambda a, b, row=row: close(a[row], b[0]), carry[0], end[0])
        backward, end = apply(one, {"params": {"forward": params["backward"]}}, x[:, ::-1])
        close(outputs[row, :length, H:], backward[0, ::-1])
        jax.tree.map(lambda a, b, row=row: close(a[row], b[0]), carry[1], end[0])


@pytest.mark.parametrize("cell", CELLS)
def test_what_the_padding_holds_changes_nothing(cell):
    model = StackedRecurrence(H, 2, cell, bidirectional=True, residual=True)
    params = randomized(model, X)["params"]
    padding = np.arange(L)[None, :, None] >= LENGTHS[:, None, None]

    @jax.jit
    def everything(x):
        def loss(params, x):
            outputs, carry = model.apply({"params": params}, x, LENGTHS)
            return (outputs**2).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(carry)), (outputs, carry)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    clean, dirty = everything(np.where(padding, 0, X)), everything(np.where(padding, np.nan, X).astype(np.float32))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert not clean[1][1][np.broadcast_to(padding, X.shape)].any() and np.abs(clean[1][1]).max() > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_more_padding_changes_nothing(cell):
    model = Recurrence(H, cell, bidirectional=True)
    variables = randomized(model, X)
    outputs, carry = apply(model, variables, X, LENGTHS)
    longer, same = apply(model, variables, np.pad(X, ((0, 0), (0, 6), (0, 0)), constant_values=5.0), LENGTHS)
    close(longer[:, :L], outputs)
    assert not longer[:, L:].any()
    jax.tree.map(close, same, carry)


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_that_are_all_full_are_none(cell):
    model = StackedRecurrence(H, 2, cell, bidirectional=True)
    variables = randomized(model, X)
    jax.tree.map(close, apply(model, variables, X, np.full(B, L)), apply(model, variables, X))


@pytest.mark.parametrize("cell", CELLS)
def test_two_halves_equal_the_whole(cell):
    cut = 3
    model = StackedRecurrence(H, 3, cell, residual=True)
    variables = randomized(model, X)
    whole, end = apply(model, variables, X, LENGTHS)
    first, carry = apply(model, variables, X[:, :cut], np.minimum(LENGTHS, cut))
    second, last = apply(model, variables, X[:, cut:], np.maximum(LENGTHS - cut, 0), carry)
    close(np.concatenate([first, second], axis=1), whole)
    jax.tree.map(close, last, end)


def test_a_sequence_of_length_zero_keeps_its_carry_and_gives_zeros():
    model = Recurrence(H, "lstm", bidirectional=True)
    carry = jax.tree.map(lambda leaf: leaf + 0.7, model.initial_carry(B))
    outputs, end = apply(model, randomized(model, X), X, np.zeros(B, np.int32), carry)
    assert not outputs.any()
    jax.tree.map(np.testing.assert_array_equal, end, carry)


@pytest.mark.parametrize("cell, bidirectional", [*((cell, False) for cell in CELLS), ("lstm", True)])
def test_one_direction_sees_no_later_step_and_no_other_sequence(cell, bidirectional):
    model = StackedRecurrence(H, 2, cell, bidirectional=bidirectional)
    variables = randomized(model, X)
    influence = jax.jit(jax.jacrev(lambda x: model.apply(variables, x)[0][2].sum(-1)))(X)  # [l, b, l, d]
    seen = np.abs(influence).sum(-1) > 0
    assert not seen[:, np.arange(B) != 2].any()
    expected = np.ones((L, L), bool) if bidirectional else np.tril(np.ones((L, L), bool))
    np.testing.assert_array_equal(seen[:, 2], expected)


def test_residual_adds_the_input_of_every_layer_but_the_first():
    plain, residual = StackedRecurrence(H, 3, "gru"), StackedRecurrence(H, 3, "gru", residual=True)
    params = randomized(plain, X)["params"]
    x = X
    for index in range(3):
        layer = {"params": params[f"layer_{index}"]}
        after, _ = apply(Recurrence(H, "gru"), layer, x)
        x = after + x if index else after
    close(apply(residual, {"params": params}, X)[0], x)
    assert np.abs(apply(plain, {"params": params}, X)[0] - x).max() > 0.1


def test_dropout_lies_between_layers_and_acts_in_training_alone():
    plain = StackedRecurrence(H, 2, "gru")
    model = plain.clone(dropout=0.5)
    variables, rngs = randomized(plain, X), {"dropout": jax.random.key(0)}
    expected, _ = apply(plain, variables, X)
    np.testing.assert_array_equal(apply(model, variables, X)[0], expected)
    np.testing.assert_array_equal(apply(plain, variables, X, train=True)[0], expected)
    dropped, carry = apply(model, variables, X, train=True, rngs=rngs)
    assert np.abs(dropped - expected).max() > 0.01
    close(carry[0][0][0], apply(plain, variables, X)[1][0][0][0])  # the first layer comes before any dropout
    alone = model.clone(layers=1)
    params = {"params": {"layer_0": variables["params"]["layer_0"]}}
    np.testing.assert_array_equal(apply(alone, params, X, train=True)[0], apply(alone, params, X)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_parameters_are_as_many_as_the_formula_says(cell, bidirectional):
    model = StackedRecurrence(H, 2, cell, bidirectional)
    shapes = jax.eval_shape(model.init, jax.random.key(0), X)
    ways, extra = (2 if bidirectional else 1), (H if cell == "gru" else 0)
    count = sum(ways * (GATES[cell] * H * (width + H + 1) + extra) for width in (D, ways * H))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_initial_parameters_are_orthogonal_for_each_gate_and_the_forget_gate_open():
    start = lambda model: jax.jit(model.init)(jax.random.key(0), X)["params"]["forward"]  # noqa: E731
    params = start(Recurrence(H, "lstm", forget_bias=1.5))
    for gate in np.split(np.asarray(params["recurrent_kernel"]), 4, axis=1):
        close(gate @ gate.T, np.eye(H))
    np.testing.assert_array_equal(params["input"]["bias"], np.repeat([0, 1.5, 0, 0], H))
    for cell in ("rnn", "gru"):
        assert not start(Recurrence(H, cell))["input"]["bias"].any()


def test_the_forget_bias_is_an_argument_and_maps():
    start = lambda value: Recurrence(H, "lstm", forget_bias=value).init(jax.random.key(0), X)  # noqa: E731
    values = jnp.array([0.0, 1.0, 3.0])
    together = jax.jit(jax.vmap(start))(values)
    for index, value in enumerate(values):
        alone = jax.jit(start)(float(value))
        jax.tree.map(lambda a, b, index=index: close(a[index], b), together, alone)


def test_derivatives_forward_and_of_second_order():
    """Of one cell: those of the others are compared with the steps one by one."""
    model = Recurrence(H, "lstm", bidirectional=True)
    variables = randomized(model, X)
    function = jax.jit(lambda x: (model.apply(variables, x, LENGTHS)[0] ** 2).sum())
    direction = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    backward = jax.jit(jax.grad(function))
    _, along = jax.jit(partial(jax.jvp, function))((X,), (direction,))
    close(along, (backward(X) * direction).sum(), rtol=1e-4)
    _, curvature = jax.jit(partial(jax.jvp, backward))((X,), (direction,))
    step = 1e-2
    difference = (backward(X + step * direction) - backward(X - step * direction)) / (2 * step)
    np.testing.assert_allclose(curvature, difference, atol=5e-3 * np.abs(difference).max())
    twice = jax.jit(jax.grad(lambda x: (backward(x) * direction).sum()))(X)
    close(twice, curvature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_the_precision_of_products_and_outputs(cell):
    exact = StackedRecurrence(H, 2, cell)
    half = exact.clone(dtype="bfloat16")
    variables = randomized(half, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    outputs, carry = apply(half, variables, X, LENGTHS)
    expected, _ = apply(exact, variables, X, LENGTHS)
    assert outputs.dtype == jnp.bfloat16 and {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype("float32")}
    assert 0 < np.abs(outputs - expected).max() < 0.05


def test_in_bfloat16_the_gradient_is_still_summed_in_float32():
    x = np.random.default_rng(0).normal(size=(B, 509, D)).astype(np.float32)
    gradients = []
    for dtype in ("float32", "bfloat16"):
        model = Recurrence(H, "lstm", dtype=dtype)
        loss = lambda variables, model=model: model.apply(variables, x)[0].astype(jnp.float32).mean()  # noqa: E731
        gradients.append(jax.jit(jax.grad(loss))(randomized(model, X))["params"]["forward"]["recurrent_kernel"])
    assert np.linalg.norm(gradients[1] - gradients[0]) < 0.01 * np.linalg.norm(gradients[0])


def products(jaxpr, looped=False):
    """Shapes of all matrix products in a program, each with whether it is inside a loop."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield looped, equation.outvars[0].aval.shape
        inside = looped or equation.primitive.name == "scan"
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from products(inner, inside)


@pytest.mark.parametrize("cell", CELLS)
def test_only_the_state_is_multiplied_inside_the_loops(cell):
    model, wide = Recurrence(H, cell), GATES[cell] * H
    variables = randomized(model, X)
    forward = list(products(jax.make_jaxpr(model.apply)(variables, X).jaxpr))
    assert sorted(forward) == [(False, (L * B, wide)), (True, (B, wide))]
    gradient = jax.grad(lambda variables: model.apply(variables, X)[0].sum())
    found = list(products(jax.make_jaxpr(gradient)(variables).jaxpr))
    assert sorted(shape for looped, shape in found if looped) == [(B, H), (B, wide)]
    kernels = [shape for looped, shape in found if not looped and L * B not in shape]
    assert sorted(sorted(shape) for shape in kernels) == [[D, wide], [H, wide]]


@pytest.mark.parametrize("cell, reverse", [("rnn", False), ("lstm", False), ("gru", True)])
def test_all_derivatives_are_those_of_the_steps_one_by_one(cell, reverse):
    generator = np.random.default_rng(3)
    draw = lambda *shape: jnp.asarray(generator.normal(size=shape) * 0.5, jnp.float32)  # noqa: E731
    functions, wide, l = cell_functions(cell, "tanh"), GATES[cell] * H, 4
    arrays = (draw(l, B, wide), draw(H, wide), draw(wide), tuple(draw(B, H) for _ in range(STATES[cell])))
    valid = (np.arange(l)[None] < LENGTHS[:, None]).T

    def steps(projected, kernel, offset, carry):
        outputs = [None] * l
        for t in reversed(range(l)) if reverse else range(l):
            after = functions.advance(functions.gates(projected[t], carry[0] @ kernel + offset[None]), carry)
            carry = tuple(jnp.where(valid[t][:, None], a, b) for a, b in zip(after, carry, strict=True))
            outputs[t] = carry[0]
        return jnp.stack(outputs), carry

    def looped(projected, kernel, offset, carry):
        return unroll(functions, projected, kernel, offset, carry, valid, reverse, "float32")

    def everything(function):
        def loss(arrays):
            outputs, carry = function(*arrays)
            return (jnp.cos(outputs) * jnp.arange(H)[None, None]).sum() + sum((state**2).sum() for state in carry)

        tangents = jax.tree.map(jnp.cos, arrays)
        return (
            function(*arrays),
            jax.jvp(jax.grad(loss), (arrays,), (tangents,)),
            jax.grad(jax.checkpoint(loss))(arrays),
            jax.vmap(jax.grad(loss))(jax.tree.map(lambda leaf: jnp.stack([leaf, 0.3 * leaf]), arrays)),
        )

    ours, expected = jax.jit(lambda: everything(looped))(), jax.jit(lambda: everything(steps))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max()), ours, expected)


def test_shapes_that_do_not_fit_are_refused():
    model = Recurrence(H, "lstm")
    refused = lambda message: pytest.raises(UsageError, match=message)  # noqa: E731
    with refused(r"a recurrence runs over \[b, l, d\], not an array of shape \(5, 7\)"):
        jax.eval_shape(model.init, jax.random.key(0), X[..., 0])
    with refused(r"lengths must be 5 integers, one per sequence, not int32 of shape \(4,\)"):
        jax.eval_shape(model.init, jax.random.key(0), X, jnp.int32(LENGTHS[:4]))
    with refused("lengths must be 5 integers, one per sequence, not float32"):
        jax.eval_shape(model.init, jax.random.key(0), X, jnp.float32(LENGTHS))
    with refused(r"the carry of 5 sequences in 11 features has shapes .*\(5, 11\).*, not .*\(3, 11\)"):
        jax.eval_shape(model.init, jax.random.key(0), X, None, model.initial_carry(3))
    with refused("the carry of 5 sequences"):
        jax.eval_shape(model.init, jax.random.key(0), X, None, Recurrence(H, "gru").initial_carry(B))
    with refused("the carry of 2 layers has one entry a layer, not 3"):
        carry = StackedRecurrence(H, 3).initial_carry(B)
        jax.eval_shape(StackedRecurrence(H, 2).init, jax.random.key(0), X, None, carry)
