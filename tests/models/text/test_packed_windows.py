"""A text in a window with others is read as it is alone: logits, loss and gradients."""

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data.text.packing import lay, numbers, pack
from research.errors import UsageError
from research.layers.sequences.positions import Positions, restarting
from research.models.text.transformer import TransformerLanguageModel
from research.tasks import LanguageModeling
from tests.families import FAMILIES

V, L = 11, 9
TOKENS = np.random.default_rng(0).integers(0, V, 40)
STARTS, ENDS = (0, 5, 12, 15, 25), (5, 12, 15, 25, 28)
PIECES = pack(STARTS, ENDS, L)
TASK = LanguageModeling()


def windows(pieces):
    entries = (lay(TOKENS, pieces, L), lay(TOKENS, pieces, L, shift=1), numbers(pieces, L))
    lengths = (entries[2] > 0).sum(axis=1)
    return dict(zip(("tokens", "targets", "documents"), entries, strict=True)) | {"lengths": lengths, "bytes": lengths}


PACKED = windows(PIECES)
ALONE = windows([piece._replace(window=index, place=0) for index, piece in enumerate(PIECES)])
del ALONE["documents"]  # one text a window is a batch as ever


def test_positions_begin_anew_with_each_text():
    documents = np.array([[1, 1, 1, 2, 3, 3, 0], [1, 2, 2, 2, 2, 2, 2]])
    assert restarting(documents).tolist() == [[0, 1, 2, 0, 0, 1, 0], [0, 0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("positions", get_args(Positions))
def test_logits_loss_and_gradients_are_those_of_each_text_alone(positions):
    assert len(PACKED["tokens"]) < len(ALONE["tokens"])
    model = TransformerLanguageModel(
        vocabulary=V, max_length=L, layers=2, width=8, heads=2, positions=positions, window=5, initialization="xavier"
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), ALONE["tokens"])["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.5, leaf.dtype), shapes)

    @jax.jit
    def both(params):
        def loss(params, batch):
            logits, _ = TASK.forward(model, params, {}, batch)
            return TASK.measure(logits, batch)["loss"], logits

        return [jax.value_and_grad(loss, has_aux=True)(params, batch) for batch in (PACKED, ALONE)]

    ((one, packed), gradient), ((other, alone), expected) = both(params)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    for index, piece in enumerate(PIECES):
        here = packed[piece.window, piece.place : piece.place + piece.length]
        np.testing.assert_allclose(here, alone[index, : piece.length], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, expected)
    if positions == "relative":  # where weights are shown, they are computed in another way
        _, kept = model.apply({"params": params}, PACKED, mutable=["intermediates"])
        weights = kept["intermediates"]["decoder"]["layer_1"]["attention"]["weights"][0]  # [b, h, l, s]
        apart = PACKED["documents"][:, None, :, None] != PACKED["documents"][:, None, None, :]
        assert float(jnp.where(apart, weights, 0).max()) == 0


def test_the_first_text_of_a_window_is_continued():
    model = TransformerLanguageModel(vocabulary=V, max_length=L, layers=1, width=8, heads=2, positions="none")
    shapes = jax.eval_shape(model.init, jax.random.key(0), PACKED["tokens"])["params"]
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    batch = {name: jnp.asarray(entry[-1:]) for name, entry in PACKED.items()}
    first = int((batch["documents"] == 1).sum())
    assert first < int(batch["lengths"][0])
    columns = dataclasses.replace(TASK, prompt=L, continuation=3).predict(model, params, {}, batch)
    assert columns["prompt"][0].tolist() == [*batch["tokens"][0, :first].tolist(), *[-1] * (L - first)]
    assert columns["target"][0].tolist() == [int(batch["targets"][0, first - 1]), -1, -1]


@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if "LanguageModel" in name or name == "TransformerClassifier"]
)
def test_what_cannot_read_texts_apart_says_so(name):
    model = FAMILIES[name].model
    if isinstance(model, TransformerLanguageModel):
        TASK.inputs(model, PACKED)
    else:
        with pytest.raises(UsageError, match=f"{type(model).__name__} would read the texts .* set data.packed=False"):
            TASK.inputs(model, PACKED)
