import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from research.data import Text, Trained
from research.experiment import Experiment
from research.models import TransformerLanguageModel, resnet
from research.optimization import Optimizer
from research.planning.flops import Work, work
from research.planning.lowering import step_jaxpr
from research.tasks import LanguageModeling


def counted(function, *arguments):
    """Return the work of a function."""
    return work(jax.make_jaxpr(function)(*arguments))


@pytest.mark.parametrize("remat", ("none", "full"))
@pytest.mark.parametrize("scan", (False, True))
def test_a_transformer_takes_what_its_matrices_say(scan, remat):
    layers, d, l, b, v = 3, 64, 32, 5, 256
    experiment = Experiment(
        model=TransformerLanguageModel(vocabulary=v, layers=layers, width=d, heads=4, scan=scan, remat=remat),
        task=LanguageModeling(),
        data=Text(tokenizer=Trained("bytes", v), length=l),
        optimizer=Optimizer("adamw", learning_rate=1e-3),
        steps=10,
        batch_size=b,
    )
    found = work(step_jaxpr(experiment))
    matrices = layers * 12 * d * d + d * v  # a tied head
    attention = layers * 2 * 2 * l * d  # scores, and values by scores
    forward = 2 * matrices + attention
    # What ends a block is not needed to go back through it, so it is not computed anew.
    again = layers * 2 * 8 * d * d + attention if remat == "full" else 0
    assert found.single == pytest.approx(b * l * (3 * forward + again), rel=1e-2)
    assert found.open_loops == 0
    assert 0 < found.elementwise < found.single


def test_bfloat16_products_are_counted_apart():
    x, y = jnp.zeros((3, 5), jnp.bfloat16), jnp.zeros((5, 7), jnp.bfloat16)
    found = counted(lambda x, y: x @ y, x, y)
    assert found == Work(half=2 * 3 * 5 * 7, traffic=2 * (15 + 35 + 21))


def test_resnet_50_takes_the_published_number():
    model, images = resnet(50), jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    forward = counted(lambda variables, x: model.apply(variables, x), variables, images)
    assert forward.single / 2 / 2 == pytest.approx(4.09e9, rel=1e-2)  # an image; multiply-adds

    def gradient(variables, x):
        def loss(params):
            logits, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return logits.sum()

        return jax.grad(loss)(variables["params"])

    first = 2 * 2 * 112 * 112 * 64 * 7 * 7 * 3  # by the image nothing is differentiated
    assert counted(gradient, variables, images).single == pytest.approx(3 * forward.single - first, rel=1e-2)


@pytest.mark.parametrize(("stride", "dilation", "groups"), ((1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 1, 2), (1, 1, 6)))
def test_a_convolution_counts_each_tap(stride, dilation, groups):
    size, kernel, channels, features = 12, 3, 6, 12
    layer = nn.Conv(
        features, (kernel,), stride, kernel_dilation=dilation, feature_group_count=groups, use_bias=False, padding=2
    )
    x = jnp.zeros((5, size, channels))
    variables = layer.init(jax.random.key(0), x)
    outputs = layer.apply(variables, x).shape[1]
    expected = 2 * 5 * outputs * kernel * features * channels // groups
    assert counted(layer.apply, variables, x).single == expected
    # Going back, each product is met again, once for the kernel and once for the input.
    back = counted(lambda v, x: jax.grad(lambda v, x: layer.apply(v, x).sum(), argnums=(0, 1))(v, x), variables, x)
    assert back.single == pytest.approx(3 * expected, rel=0.15)  # the edge is met in part


def test_loops_count_as_often_as_they_run():
    x = jnp.zeros((4, 4))
    product = 2 * 4**3
    assert counted(lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=7)[0], x).single == 7 * product
    assert counted(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: x @ x, x), x).single == 5 * product

    def by_twos(x):
        return jax.lax.while_loop(lambda carry: carry[0] < 10, lambda carry: (carry[0] + 3, carry[1] @ x), (1, x))

    assert counted(by_twos, x) == Work(single=3 * product, elementwise=6, traffic=3 * 3 * 64)
    unknown = counted(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x), x, 5)
    assert (unknown.single, unknown.open_loops) == (product, 1)


def test_of_two_branches_the_longer_counts():
    x = jnp.zeros((3, 3))
    found = counted(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x + 1, x), x)
    assert found.single == 2 * 2 * 3**3


def test_derivatives_of_ones_own_and_remat_are_looked_into():
    @jax.custom_vjp
    def square(x):
        return x @ x

    square.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
    x = jnp.zeros((3, 3))
    assert counted(square, x).single == 2 * 27
    assert counted(jax.grad(lambda x: square(x).sum()), x).single == 3 * 2 * 27
    assert counted(jax.jit(jax.checkpoint(lambda x: x @ x)), x).single == 2 * 27


def test_what_devices_share_counts_whole():
    spec, mesh = PartitionSpec("data"), AbstractMesh((4,), ("data",), axis_types=(AxisType.Auto,))
    local = jax.shard_map(lambda x, y: x @ y, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec)
    assert counted(local, jnp.zeros((8, 3)), jnp.zeros((3, 5))).single == 2 * 8 * 3 * 5


def test_moving_values_is_no_arithmetic():
    x = jnp.zeros((3, 5))
    assert counted(lambda x: jnp.concatenate([x.T.reshape(3, 5), x])[::-1], x).flops == 0
    assert counted(lambda x: x + 1, x).flops == 15
    assert counted(lambda x: x.sum(axis=0), x).flops == 15
