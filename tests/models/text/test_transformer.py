"""Transformers beside those of others, and what their outputs depend on."""

import pathlib
from typing import get_args

import chex
import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.fields import validate
from research.layers.sequences.positions import Positions
from research.models.text.transformer import TransformerLanguageModel
from research.models.text.transformer_seq2seq import vaswani
from research.models.transformer.stack import TransformerStack
from tests.models.text.small_transformers import LENGTHS, LM, MODELS, SIZES, TOKENS, close, inputs, randomized, stacked

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "transformer.npz")


def dense(arrays, prefix):
    bias = {"bias": arrays[f"{prefix}.bias"]} if f"{prefix}.bias" in arrays else {}
    return {"kernel": arrays[f"{prefix}.weight"].T, **bias}


def norm(arrays, prefix):
    bias = {"bias": arrays[f"{prefix}.bias"]} if f"{prefix}.bias" in arrays else {}
    return {"scale": arrays[f"{prefix}.weight"], **bias}


def golden(case, prefix):
    return {n.removeprefix(f"{case}/{prefix}/"): GOLDEN[n] for n in GOLDEN.files if n.startswith(f"{case}/{prefix}/")}


def torch_attention(arrays, prefix):
    weights, biases = np.split(arrays[f"{prefix}.in_proj_weight"], 3), np.split(arrays[f"{prefix}.in_proj_bias"], 3)
    parts = zip(("query", "key", "value"), weights, biases, strict=True)
    return {name: {"kernel": w.T, "bias": b} for name, w, b in parts} | {"output": dense(arrays, f"{prefix}.out_proj")}


def torch_stack(arrays, side):
    """Parameters, or their gradients, of one side of torch.nn.Transformer as ours."""
    params = {}
    for layer in range(2):
        prefix = f"{side}.layers.{layer}"
        names = ["attention_norm", "cross_attention_norm", "feed_forward_norm"]
        names = [names[0], names[2]] if side == "encoder" else names
        block = {name: norm(arrays, f"{prefix}.norm{index + 1}") for index, name in enumerate(names)}
        block["attention"] = torch_attention(arrays, f"{prefix}.self_attn")
        if side == "decoder":
            block["cross_attention"] = torch_attention(arrays, f"{prefix}.multihead_attn")
        block["feed_forward"] = {
            "hidden": dense(arrays, f"{prefix}.linear1"),
            "output": dense(arrays, f"{prefix}.linear2"),
        }
        params[f"layer_{layer}"] = block
    if f"{side}.norm.weight" in arrays:
        params["norm"] = norm(arrays, f"{side}.norm")
    return params


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_the_encoder_decoder_equals_that_of_torch(placement):
    case = f"transformer_{placement}"
    fields = {"layers": 2, "width": 10, "heads": 2, "feed_forward": "relu", "feed_forward_width": 13}
    encoder = TransformerStack(**fields, norm_placement=placement)
    decoder = encoder.clone(causal=True, cross=True)
    source, target = GOLDEN[f"{case}/source"], GOLDEN[f"{case}/target"]
    mask = np.arange(11)[None] < np.array([[11], [4]])

    def loss(params, source, target):
        memory, _ = encoder.apply({"params": params["encoder"]}, source, mask=mask)
        y, _ = decoder.apply({"params": params["decoder"]}, target, memory, memory_mask=mask)
        return (GOLDEN[f"{case}/weight_y"] * y).sum(), y

    params, expected = (
        {side: torch_stack(golden(case, kind), side) for side in ("encoder", "decoder")}
        for kind in ("parameter", "gradient")
    )
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, y), gradients = run(params, source, target)
    close(y, GOLDEN[f"{case}/y"])
    close(gradients, (expected, GOLDEN[f"{case}/gradient/source"], GOLDEN[f"{case}/gradient/target"]), 2e-5)


def test_grouped_queries_rotary_swiglu_and_rmsnorm_equal_llama():
    model = TransformerLanguageModel(
        layers=1, width=12, heads=6, key_value_heads=3, feed_forward="swiglu", feed_forward_width=17, norm="rmsnorm",
        positions="rotary", bias=False, tied=False, vocabulary=23,
    )  # fmt: skip

    def from_llama(kind):
        arrays, layer = golden("llama", kind), "model.layers.0"
        attention = {n: dense(arrays, f"{layer}.self_attn.{n[0]}_proj") for n in ("query", "key", "value", "output")}
        parts = {"hidden": "gate_proj", "linear": "up_proj", "output": "down_proj"}
        block = {
            "attention": attention,
            "attention_norm": norm(arrays, f"{layer}.input_layernorm"),
            "feed_forward": {ours: dense(arrays, f"{layer}.mlp.{theirs}") for ours, theirs in parts.items()},
            "feed_forward_norm": norm(arrays, f"{layer}.post_attention_layernorm"),
        }
        return {
            "embedding": {"tokens": {"embedding": arrays["model.embed_tokens.weight"]}},
            "decoder": {"layer_0": block, "norm": norm(arrays, "model.norm")},
            "head": dense(arrays, "lm_head"),
        }

    def loss(params):
        y = model.apply({"params": params}, GOLDEN["llama/tokens"])
        return (GOLDEN["llama/weight_y"] * y).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(from_llama("parameter"))
    close(y, GOLDEN["llama/y"], 2e-5)  # the peer's norm and rotation are float32, as ours are
    close(gradient, from_llama("gradient"), 2e-5)


@pytest.mark.parametrize("size, d, f, count", [("base", 512, 2048, 63082496), ("big", 1024, 4096, 214245376)])
def test_the_published_sizes_have_their_number_of_parameters(size, d, f, count):
    """One table of 37,000; attention 4 (d^2 + d), feed-forward 2 d f + f + d, a norm 2 d for each part."""
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * f + f + d, 2 * d
    encoder, decoder = attention + feed_forward + 2 * norm, 2 * attention + feed_forward + 3 * norm
    assert count == 37000 * d + 6 * (encoder + decoder)
    batch = {"tokens": np.zeros((1, 3), int), "targets": np.zeros((1, 5), int)}
    shapes = jax.eval_shape(lambda: vaswani(size, scan=True).init(jax.random.key(0), batch))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert vaswani(size, dropout=0.0, layers=2).layers == 2
    with pytest.raises(UsageError, match='there is no size "basic"; did you mean "base"'):
        vaswani("basic")


@pytest.mark.parametrize("window", [None, 1])
@pytest.mark.parametrize("positions, placement", [("none", "pre"), ("alibi", "post")])
def test_a_stack_is_causal_and_sees_as_far_as_its_windows_reach(window, positions, placement):
    model = TransformerStack(**SIZES, causal=True, window=window, positions=positions, norm_placement=placement)
    x = np.random.default_rng(1).normal(size=(1, 7, 12)).astype(np.float32)
    variables = randomized(model, x)
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(variables, x)[0].sum((0, 2))))(x)  # [l, 1, l, d]
    i, j = np.indices((7, 7))
    expected = (j <= i) & (i - j <= (7 if window is None else 2 * window))
    np.testing.assert_array_equal(np.abs(jacobian).sum((1, 3)) > 1e-6, expected)


def test_without_positions_an_encoder_is_equivariant_and_with_any_it_is_not():
    order = np.array([4, 2, 0, 6, 1, 5, 3])
    for positions in get_args(Positions):
        model = MODELS["classifier"].clone(positions=positions, layers=1)
        variables = randomized(model, TOKENS)
        run = jax.jit(lambda tokens, model=model, variables=variables: model.apply(variables, tokens))
        moved = np.abs(run(TOKENS[:, order]) - run(TOKENS)).max()
        assert moved < 1e-5 if positions == "none" else moved > 1e-3, positions


@pytest.mark.parametrize(
    "name, fields",
    [
        ("classifier", {"pooling": "mean", "positions": "relative"}),
        ("classifier", {"pooling": "class", "positions": "learned"}),
        ("language_model", {"positions": "learned"}),
        ("seq2seq", {"positions": "relative"}),
    ],
)
def test_padding_changes_nothing_whatever_stands_in_it(name, fields):
    model = MODELS[name].clone(**fields)
    batch = inputs(name, lengths=True)
    variables = randomized(model, batch)
    run = jax.jit(model.apply)
    padding = np.arange(7)[None] >= LENGTHS[:, None]
    logits = run(variables, batch)
    for garbage in (-1, 3, 10**6):
        again = run(variables, {**batch, "tokens": np.where(padding, garbage, TOKENS)})
        np.testing.assert_array_equal(again, logits)
    assert np.isfinite(logits).all()

    def alone(row, length):
        one = {key: value[row : row + 1] for key, value in batch.items() if key != "lengths"}
        return {**one, "tokens": one["tokens"][:, :length]}

    rows = [(row, length) for row, length in enumerate(LENGTHS) if length < 7]
    expected = jax.jit(lambda v: [model.apply(v, alone(row, length))[0] for row, length in rows])(variables)
    for (row, length), one in zip(rows, expected, strict=True):
        close(logits[row][:length] if name == "language_model" else logits[row], one)
    longer = run(variables, {**batch, "tokens": np.pad(TOKENS, ((0, 0), (0, 2)))})
    close(longer[:, :7] if name == "language_model" else longer, logits)


def test_a_row_without_tokens_is_finite():
    model = MODELS["classifier"]
    batch = {"tokens": TOKENS, "lengths": np.array([0, 7, 0])}
    variables = randomized(model, batch)
    loss, gradient = jax.jit(jax.value_and_grad(lambda v: model.apply(v, batch).sum()))(variables)
    chex.assert_tree_all_finite((loss, gradient))


def test_hidden_states_and_weights_are_named_intermediates():
    model = MODELS["classifier"].clone(pooling="class")
    variables = randomized(model, TOKENS)
    look = lambda model: jax.jit(lambda v: model.apply(v, TOKENS, mutable=["intermediates"]))  # noqa: E731
    logits, state = look(model)(variables)
    kept = state["intermediates"]
    close(logits, jax.jit(model.apply)(variables, TOKENS))
    assert kept["encoder"]["layer_1"]["output"][0].shape == (3, 8, 12)
    assert kept["encoder"]["layer_0"]["attention"]["weights"][0].shape == (3, 3, 8, 8)
    assert kept["pooled"][0].shape == (3, 12)
    _, state = look(model.clone(scan=True))({"params": stacked(variables["params"])})
    looped = state["intermediates"]["encoder"]["layers"]
    close(looped["output"][0][1], kept["encoder"]["layer_1"]["output"][0])
    close(looped["attention"]["weights"][0][0], kept["encoder"]["layer_0"]["attention"]["weights"][0])


def test_features_take_the_place_of_tokens_where_there_is_no_vocabulary():
    model = MODELS["classifier"].clone(vocabulary=None)
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    variables = randomized(model, x)
    padding = np.arange(7)[None] >= LENGTHS[:, None]
    batch = {"features": np.where(padding[..., None], np.nan, x), "lengths": LENGTHS}
    whole, alone = jax.jit(lambda v: (model.apply(v, batch), model.apply(v, x[:1, :4])))(variables)
    close(whole[0], alone[0])


def test_a_tied_head_is_the_table_and_a_scale_is_the_root_of_the_width():
    tied, untied = randomized(LM, TOKENS)["params"], randomized(LM.clone(tied=False), TOKENS)["params"]
    assert untied.keys() - tied.keys() == {"head"} and untied["head"].keys() == {"kernel"}
    run = lambda params, **fields: jax.jit(LM.clone(**fields).apply)({"params": params}, TOKENS)  # noqa: E731
    same = {**tied, "head": {"kernel": tied["embedding"]["tokens"]["embedding"].T}}
    close(run(same, tied=False), run(tied))
    larger = {**same, "embedding": jax.tree.map(lambda x: x * 12**0.5, tied["embedding"])}
    close(run(larger, tied=False), run(same, tied=False, embedding_scale=True))
    shared = MODELS["seq2seq"].clone(target_vocabulary=None)
    assert "target_embedding" not in randomized(shared, inputs("seq2seq"))["params"]


@pytest.mark.parametrize("model", [*MODELS.values(), vaswani()])
def test_every_field_is_sound(model):
    validate(model)
    with pytest.raises(UsageError, match="positions must be"):
        validate(model.clone(positions="rotery"))
    with pytest.raises(UsageError, match="rotary_base must be at least 1"):
        validate(model.clone(rotary_base=0.0))


@pytest.mark.parametrize(
    "model, batch, message",
    [
        (LM.clone(heads=5), TOKENS, "heads=5 does not divide width=12"),
        (LM.clone(key_value_heads=2), TOKENS, "key_value_heads=2 does not divide heads=3"),
        (LM.clone(width=9, positions="rotary"), TOKENS, "heads of even width, not 3"),
        (
            LM.clone(positions="learned", max_length=6),
            TOKENS,
            "7 positions is longer than the learned ones, max_length=6",
        ),
        (
            MODELS["classifier"].clone(positions="learned", max_length=6),
            TOKENS,
            "7 positions is longer .* max_length=6",
        ),
        (LM, TOKENS[0], r"tokens must be \[b, l\]"),
        (LM, TOKENS[:, :0], "empty"),
        (LM, TOKENS[:0], "empty"),
        (LM, TOKENS.astype(np.float32), "tokens must be integers"),
        (LM, {"tokens": TOKENS, "lengths": np.array([1, 2])}, "lengths must be 3 integers"),
        (MODELS["seq2seq"], {"tokens": TOKENS}, '"targets"'),
        (TransformerStack(**SIZES, cross=True), np.ones((1, 3, 12)), "cross=True needs a memory"),
    ],
)
def test_what_does_not_fit_is_refused(model, batch, message):
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), batch))


@pytest.mark.parametrize("token", [-1, 11])
def test_a_token_out_of_range_gives_nan_rather_than_another_token(token):
    tokens = TOKENS.copy()
    tokens[1, 2] = token
    logits = jax.jit(LM.apply)(randomized(LM, TOKENS), tokens)
    np.testing.assert_array_equal(np.isnan(logits).any((1, 2)), [False, True, False])
