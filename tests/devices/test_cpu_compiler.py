from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.devices import Layout, compile_for, compile_together
from research.devices.cpu import compiler as cpu_compiler
from research.models import TransformerLanguageModel
from tests.training import forking

pytestmark = pytest.mark.optimized


def is_left_to_the_library(operation, *shapes):
    """Whether XLA leaves an operation, compiled as a step is, to a library."""
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    program = compile_for(lambda program, *inputs: operation(*inputs), shapes).lower(*arrays).compile()
    return "ynn" in program.as_text()


def test_products_are_left_to_a_library_and_convolutions_are_not(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolution = partial(
        jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=dimensions
    )
    shapes = (32, 16, 16, 64), (3, 3, 64, 64)
    assert is_left_to_the_library(jnp.matmul, (256, 256), (256, 256))
    assert not is_left_to_the_library(convolution, *shapes)
    monkeypatch.setenv("XLA_FLAGS", f"--{cpu_compiler.LIBRARY}=")  # which XLA itself has read long before
    assert is_left_to_the_library(convolution, *shapes)


MODEL = TransformerLanguageModel(vocabulary=512, layers=3, width=32, heads=2, max_length=64)
TOKENS = np.random.default_rng(0).integers(0, 512, (4, 64), np.int32)


def descend(model, rate, params, tokens):
    """Parameters after a step of gradient descent, and their norm before it."""
    slopes = jax.grad(lambda params: jnp.square(model.apply({"params": params}, tokens)).mean())(params)
    return jax.tree.map(lambda value, slope: value - rate * slope, params, slopes), optax.tree.norm(params)


def compare_with_the_usual(together):
    """Compile and take a step as a run does and as JAX does by default."""
    arguments = jnp.float32(0.1), MODEL.init(jax.random.key(0), TOKENS)["params"], TOKENS
    plain = partial(descend, MODEL)
    if together:
        arguments, plain = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arguments), jax.vmap(plain)
        placed = compile_together(descend, MODEL, "vmap", (0, 0, 0), donate_state=True)
    else:
        placed = compile_for(descend, MODEL, donate_state=True)
    lean, usual = (each.lower(*arguments).compile() for each in (placed, jax.jit(plain, donate_argnums=1)))
    needed, before = (each.memory_analysis().temp_size_in_bytes for each in (lean, usual))
    assert needed < 0.95 * before
    expected = usual(*jax.tree.map(jnp.copy, arguments))
    jax.tree.map(np.testing.assert_array_equal, lean(*arguments), expected)


@pytest.mark.parametrize("together", [False, True])
def test_a_step_takes_less_memory_to_the_same_bits(together, monkeypatch, tmp_path):
    """In a process of its own: which of XLA's emitters are used is settled when the first program is compiled."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    ended = forking.finish(*forking.call(compare_with_the_usual, together, log=tmp_path / "log"))
    assert ended.code == 0, ended.text


class Described:
    """A mesh of a TPU that is not here."""

    devices = np.array([SimpleNamespace(platform="tpu")])


def test_other_compilers_are_told_nothing(monkeypatch):
    told = []
    monkeypatch.setattr(jax, "jit", lambda step, **given: told.append(given["compiler_options"]))
    compile_for(jnp.add, "for this CPU")
    compile_for(jnp.add, "for a TPU", Layout(Described()), once=True)
    compile_together(jnp.add, "for this CPU", "vmap", (0,))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compile_for(jnp.add, "for a GPU", once=True)
    compile_together(jnp.add, "for a GPU", "vmap", (0,))
    assert [bool(options) for options in told] == [True, False, True, False, False]
