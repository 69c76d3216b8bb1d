"""Folders of published language models beside what transformers computes, and the other words that files have."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import from_pretrained, read_tensors, save_pretrained, to_tensors, write_tensors
from research.interchange.families import FAMILIES, kind_of
from research.models.model import model_inputs
from tests.golden.folders import FAMILIES as CASES
from tests.golden.folders import golden
from tests.interchange.test_torch_files import archive, dictionary, tensor


def names_of(model):
    return FAMILIES[kind_of(model)].names(model)


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_every_gradient_equal_those_of_transformers(case, theirs):
    arrays = golden(case)
    model, params, tokenizer = from_pretrained(theirs / case)
    assert tokenizer is None and kind_of(model) == CASES[case]
    outputs = [name.removeprefix("weight_") for name in arrays if name.startswith("weight_")]
    inputs = model_inputs(
        model, {name: arrays[name] for name in ("tokens", "segments", "lengths", "targets") if name in arrays}
    )

    def loss(params):
        out = model.apply({"params": params}, inputs)
        out = (
            out if isinstance(out, dict) else dict(zip(outputs, out if isinstance(out, tuple) else (out,), strict=True))
        )
        return sum((arrays[f"weight_{name}"] * out[name]).sum() for name in outputs), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    for name in outputs:
        counts = arrays[f"weight_{name}"] != 0
        y, expected = out[name] * counts, arrays[name] * counts
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name)
    found = to_tensors({"params": gradient}, names_of(model))
    assert {f"gradient/{name}" for name in found} == {name for name in arrays if name.startswith("gradient/")}
    for name, array in found.items():
        expected = arrays[f"gradient/{name}"]
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-4 * max(np.abs(expected).max(), 1), err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_the_same_leaf_by_leaf(case, theirs, tmp_path):
    model, params, _ = from_pretrained(theirs / case)
    save_pretrained(model, params, tmp_path / "ours")
    again, same, _ = from_pretrained(tmp_path / "ours")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, params, same)
    written, expected = (read_tensors(folder / "model.safetensors")[0] for folder in (tmp_path / "ours", theirs / case))
    assert written.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(written[name], array, strict=True, err_msg=name)
    said, config = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "ours", theirs / case))
    differing = {name for name in said.keys() & config.keys() if said[name] != config[name]}
    assert differing == ({"tie_word_embeddings"} if case == "t5_later" else set())  # which published files deny
    assert said["architectures"] == config["architectures"]


def with_prefix(old, new):
    """Begins every name otherwise."""
    return lambda tensors: {
        **{f"{new}{name.removeprefix(old)}": array for name, array in tensors.items() if name.startswith(old)},
        **{name: None for name in tensors if name.startswith(old)},
    }


def as_tensorflow(tensors):
    """Names of norms as the authors' files have them."""
    norms = [name for name in tensors if "LayerNorm" in name]
    other = {"weight": "gamma", "bias": "beta"}
    renamed = {name: f"{name.rpartition('.')[0]}.{other[name.rpartition('.')[2]]}" for name in norms}
    return {renamed[name]: tensors[name] for name in norms} | dict.fromkeys(norms)


def copied(original, *names):
    """Adds tensors that are another once more."""
    return lambda tensors: dict.fromkeys(names, tensors[original])


MASK = np.tri(17, dtype=np.float32)[None, None]
VARIANTS = {
    "gpt2 without its prefix": ("gpt2", with_prefix("transformer.", "")),
    "gpt2 with masks": (
        "gpt2",
        lambda _: {"transformer.h.0.attn.bias": MASK, "transformer.h.1.attn.masked_bias": MASK},
    ),
    "gpt2 with a copy": ("gpt2", copied("transformer.wte.weight", "lm_head.weight")),
    "llama with frequencies": (
        "llama",
        lambda _: {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)},
    ),
    "llama with a copy": ("llama_tied", copied("model.embed_tokens.weight", "lm_head.weight")),
    "bert with a prefix": ("bert", with_prefix("", "bert.")),
    "bert with positions": ("bert", lambda _: {"embeddings.position_ids": np.arange(17)[None]}),
    "bert of TensorFlow": ("bert_pretraining", as_tensorflow),
    "bert with copies": (
        "bert_pretraining",
        lambda tensors: {
            "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
            "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
        },
    ),
    "t5 with copies": (
        "t5",
        copied("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
    ),
    "t5 with an unused table": (
        "t5",
        copied(
            "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        ),
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_names_that_files_have_are_read(variant, theirs, changed):
    case, tensors = VARIANTS[variant]
    model, params, _ = from_pretrained(theirs / case)
    again, same, _ = from_pretrained(changed(case, tensors))
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, params, same)


def test_bfloat16_is_read_as_float32_from_several_files_and_from_one_of_pytorch(theirs, changed):
    folder = changed("gpt2")
    tensors, _ = read_tensors(folder / "model.safetensors")
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{index % 2 + 1}-of-00002.safetensors" for index, name in enumerate(sorted(half))}
    for file in set(places.values()):
        write_tensors(folder / file, {name: array for name, array in half.items() if places[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    params = from_pretrained(folder)[1]
    expected = from_pretrained(theirs / "gpt2")[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(ml_dtypes.bfloat16)), params, expected)

    (folder / "model.safetensors.index.json").unlink()
    views = {
        name: tensor(str(index), "BFloat16Storage", array.size, 0, array.shape, strides(array.shape))
        for index, (name, array) in enumerate(half.items())
    }
    (folder / "pytorch_model.bin").write_bytes(archive(dictionary(**views), *half.values()))
    jax.tree.map(np.testing.assert_array_equal, from_pretrained(folder)[1], params)


def strides(shape):
    """Steps along each axis of an array that lies in rows."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def test_wavelengths_of_rotary_positions_are_read_in_old_and_new_words(changed):
    for entries in (
        {"rope_parameters": (), "rope_theta": 70.0},
        {"rope_parameters": {"rope_theta": 70.0, "rope_type": "default"}},
        {"rope_parameters": (), "rope_theta": 70, "rope_scaling": {"type": "default"}},
    ):
        assert from_pretrained(changed("llama", **entries))[0].rotary_base == 70


def test_which_t5_is_tied_and_which_divides_follows_from_old_words_and_from_new_ones(theirs, changed):
    later = from_pretrained(theirs / "t5_later")[0]
    assert not later.tied and not later.output_scale
    old = {"tie_word_embeddings": False, "scale_decoder_outputs": ()}
    assert from_pretrained(changed("t5_later", **old))[0] == later
    without = changed("t5_later", lambda _: {"lm_head.weight": None})
    assert from_pretrained(without)[0] == later.clone(tied=True)
    with pytest.raises(UsageError, match='the weights lack "lm_head.weight"$'):
        from_pretrained(changed("t5_later", lambda _: {"lm_head.weight": None}, **old))


def test_what_a_configuration_leaves_out_is_what_it_is_by_default(changed):
    model = from_pretrained(
        changed("llama", num_key_value_heads=(), rms_norm_eps=(), head_dim=(), num_attention_heads=4, tensors=square)
    )[0]
    assert (model.key_value_heads, model.head_width, model.norm_epsilon) == (None, None, 1e-6)


def square(tensors):
    """Kernels of attention as they are with as many heads of keys as of queries, which share the width."""
    return {
        name: np.zeros((24, 24), np.float32)
        for name in tensors
        if name.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "o_proj")
    }
