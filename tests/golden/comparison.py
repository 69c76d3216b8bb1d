"""A model of ours with the weights of another library's, drawn by name, beside what that library gives."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.interchange import from_tensors, names, to_tensors
from tests.golden.drawing import images, parameter


def golden(family: str) -> dict[str, np.ndarray]:
    """Return the arrays of a family."""
    with np.load(pathlib.Path(__file__).parent / f"{family}.npz") as archive:
        return dict(archive)


def drawn(model, x):
    """Return all collections of the model, with the values that belong to their names in the other library."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    like = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), dict(shapes))
    like.pop("intermediates", None)
    tensors = {name: parameter(name, tensor.shape) for name, tensor in to_tensors(like, names(model)).items()}
    return from_tensors(tensors, like, names(model))


def assert_golden(model, family: str, name: str, h: int, w: int, c: int = 3) -> None:
    """Assert that the logits in evaluation mode equal those of the other library, to 1e-4 of the largest."""
    expected = golden(family)[name]
    x = jnp.asarray(images(name, len(expected), h, w, c))
    logits = jax.jit(model.apply)(drawn(model, x), x)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def parameters(model, h: int = 64, w: int = 64, c: int = 3) -> int:
    """Return how many scalars are trained.

    Kernels are traced in their form for accelerators alone, often a single operation: the shapes are the same.
    """
    x = jax.ShapeDtypeStruct((1, h, w, c), jnp.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", lambda *inputs, default, **_: default(*inputs))
        shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
