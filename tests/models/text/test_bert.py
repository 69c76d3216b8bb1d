import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.fields import validate
from research.models.text.bert import bert, bert_classifier

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "transformer.npz")
SIZES = {"vocabulary": 29, "max_length": 17, "width": 9, "layers": 2, "heads": 3, "feed_forward_width": 13}
TINY = bert("base", **SIZES, dropout=0.0, attention_dropout=0.0)
BATCH = {name: GOLDEN[f"bert/{name}"] for name in ("tokens", "segments", "lengths")}
COUNTED = np.arange(13)[None] < BATCH["lengths"][:, None]


def from_transformers(kind):
    """Parameters, or their gradients, of BertForPreTraining as ours."""

    def take(name):
        return GOLDEN[f"bert/{kind}/{name}"]

    def dense(name):
        return {"kernel": take(f"{name}.weight").T, "bias": take(f"{name}.bias")}

    def norm(name):
        return {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

    def block(name):
        own = {part: dense(f"{name}.attention.self.{part}") for part in ("query", "key", "value")}
        return {
            "attention": own | {"output": dense(f"{name}.attention.output.dense")},
            "attention_norm": norm(f"{name}.attention.output.LayerNorm"),
            "feed_forward": {"hidden": dense(f"{name}.intermediate.dense"), "output": dense(f"{name}.output.dense")},
            "feed_forward_norm": norm(f"{name}.output.LayerNorm"),
        }

    tables = "bert.embeddings"
    return {
        "bert": {
            "embedding": {
                "tokens": {"embedding": take(f"{tables}.word_embeddings.weight")},
                "learned": {"table": take(f"{tables}.position_embeddings.weight")},
            },
            "segment_embedding": {"embedding": take(f"{tables}.token_type_embeddings.weight")},
            "embedding_norm": norm(f"{tables}.LayerNorm"),
            "encoder": {f"layer_{index}": block(f"bert.encoder.layer.{index}") for index in range(2)},
            "pooler": dense("bert.pooler.dense"),
        },
        "transform": dense("cls.predictions.transform.dense"),
        "transform_norm": norm("cls.predictions.transform.LayerNorm"),
        "masked_bias": take("cls.predictions.bias"),
        "next": dense("cls.seq_relationship"),
    }


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5 * max(np.abs(b).max(), 1))


def test_both_heads_and_all_gradients_equal_those_of_transformers():
    params = from_transformers("parameter")
    assert jax.tree.map(jnp.shape, jax.eval_shape(lambda: TINY.init(jax.random.key(0), BATCH)))[
        "params"
    ] == jax.tree.map(jnp.shape, params)

    def loss(params):
        out = TINY.apply({"params": params}, BATCH)
        out["masked"] = out["masked"] * COUNTED[:, :, None]
        return sum((GOLDEN[f"bert/weight_{name}"] * y).sum() for name, y in out.items()), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    jax.tree.map(close, out, {name: GOLDEN[f"bert/{name}"] for name in ("masked", "next")})
    jax.tree.map(close, gradient, from_transformers("gradient"))


@pytest.mark.parametrize("size, count, body", [("base", 110106428, 109482240), ("large", 336226108, 335141888)])
def test_the_published_sizes_have_their_number_of_parameters(size, count, body):
    model = bert(size, scan=True)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32)))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["bert"])) == body


def test_padding_changes_nothing_whatever_stands_in_it():
    variables = {"params": from_transformers("parameter")}
    run = jax.jit(TINY.apply)
    out = run(variables, BATCH)
    garbage = {name: np.where(COUNTED, BATCH[name], 99) for name in ("tokens", "segments")}
    again = run(variables, {**BATCH, **garbage})
    np.testing.assert_array_equal(again["next"], out["next"])
    np.testing.assert_array_equal(again["masked"], out["masked"])
    alone = TINY.apply(variables, {name: BATCH[name][1:2, :5] for name in ("tokens", "segments")})
    close(out["masked"][1, :5], alone["masked"][0])
    close(out["next"][1], alone["next"][0])


def test_segments_are_zero_unless_said():
    variables = {"params": from_transformers("parameter")}
    plain = TINY.apply(variables, BATCH["tokens"])
    said = TINY.apply(variables, {"tokens": BATCH["tokens"], "segments": 0 * BATCH["tokens"]})
    jax.tree.map(np.testing.assert_array_equal, plain, said)
    other = TINY.apply(variables, {"tokens": BATCH["tokens"], "segments": 0 * BATCH["tokens"] + 1})
    assert np.abs(other["next"] - plain["next"]).max() > 0.01
    with pytest.raises(UsageError, match=r"segments must be \[b, l\] = \[3, 13\], like tokens, not \[3, 1\]"):
        TINY.apply(variables, {"tokens": BATCH["tokens"], "segments": BATCH["tokens"][:, :1]})
    with pytest.raises(UsageError, match="18 positions is longer than the learned ones, max_length=17"):
        TINY.apply(variables, np.zeros((1, 18), int))


def test_a_classifier_goes_on_from_pretrained_parameters():
    model = bert_classifier("base", classes=5, **SIZES, dropout=0.0, attention_dropout=0.0)
    validate(model)
    fresh = jax.jit(model.init)(jax.random.key(0), BATCH)["params"]
    pretrained = from_transformers("parameter")
    assert jax.tree.map(jnp.shape, fresh["bert"]) == jax.tree.map(jnp.shape, pretrained["bert"])
    logits = jax.jit(model.apply)({"params": {**fresh, "bert": pretrained["bert"]}}, BATCH)
    assert logits.shape == (3, 5) and logits.dtype == jnp.float32
    expected = jax.jit(TINY.apply)({"params": pretrained}, BATCH)["next"]
    head = {"bert": pretrained["bert"], "logits": pretrained["next"]}
    close(jax.jit(model.clone(classes=2).apply)({"params": head}, BATCH), expected)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_value_and_gradient_lower_for_every_platform(platform):
    model = bert("base", **SIZES, dtype="bfloat16", scan=True)
    batch = jax.tree.map(jnp.asarray, BATCH)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))

    def loss(variables, batch):
        out = model.apply(variables, batch, train=True, rngs={"dropout": jax.random.key(0)})
        return out["masked"].sum() + out["next"].sum()

    jax.jit(jax.value_and_grad(loss)).trace(variables, batch).lower(lowering_platforms=(platform,))
