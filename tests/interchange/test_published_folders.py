"""Folders as transformers wrote them are read, give what its models give, and are written as it writes them."""

import json
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tokenizers

from research.errors import UsageError
from research.experiment import Pretrained
from research.generation.chat import Template, read_template
from research.interchange import from_pretrained, read_tensors, read_weights, save_pretrained, to_tensors, write_tensors
from research.interchange.families import FAMILIES, kind_of
from research.models import TextCNN, TransformerClassifier, bert, gpt2, llama, t5
from research.models.model import model_inputs
from research.training.initialization.pretrained import take_pretrained
from tests.golden.folders import FAMILIES as CASES
from tests.golden.folders import golden, write
from tests.interchange.test_torch_files import archive, dictionary, tensor


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The folders of all cases, as transformers wrote them."""
    root = tmp_path_factory.mktemp("theirs")
    for case in CASES:
        write(case, root / case)
    return root


@pytest.fixture
def changed(theirs, tmp_path):
    """Writes a folder again with other tensors, and other entries of its config.json; None takes one out."""

    def change(case, tensors=None, **entries):
        config = json.loads((theirs / case / "config.json").read_text()) | entries
        (tmp_path / "config.json").write_text(
            json.dumps({name: entry for name, entry in config.items() if entry != ()})
        )
        read, _ = read_tensors(theirs / case / "model.safetensors")
        read |= {} if tensors is None else tensors(read)
        write_tensors(
            tmp_path / "model.safetensors", {name: array for name, array in read.items() if array is not None}
        )
        return tmp_path

    return change


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


LACKING = [
    (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx=True, but models here have False",
    ),
    ("gpt2", {"activation_function": "swish"}, "activation_function='swish', but models here have 'gelu_new' or"),
    ("gpt2", {"embd_pdrop": 0.3}, "resid_pdrop=0.1 and embd_pdrop=0.3, which are one number"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
    ("gpt2", {"quantization_config": {"bits": 4}}, '"quantization_config", which models here do not have'),
    ("gpt2", {"n_head": 0}, "n_head=0, which should be a whole number from 1 on"),
    ("gpt2", {"n_embd": 10**30}, "which should be a whole number from 1 on and below 2^31"),
    ("gpt2", {"n_layer": 10**9}, "config.json says 1000000000 layers, but there are 28 tensors"),
    ("gpt2", {"n_head": 4}, "heads=4 does not divide width=15"),
    ("gpt2", {"resid_pdrop": 5, "embd_pdrop": 5}, "dropout must be in [0, 1), not 5.0"),
    ("gpt2", {"layer_norm_epsilon": "small"}, "layer_norm_epsilon='small', which should be a number"),
    ("gpt2", {"model_type": "gtp2"}, 'model_type "gtp2"; did you mean "gpt2"?'),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling.rope_type='llama3'"),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling.type='linear'"),
    ("llama", {"rope_parameters": {"rope_type": "default", "factor": 2.0}}, '"rope_parameters.factor"'),
    ("llama", {"sliding_window": 8}, '"sliding_window"'),
    ("llama", {"attention_bias": True}, "attention_bias=True and mlp_bias=False"),
    ("llama", {"hidden_act": "relu"}, "hidden_act='relu'"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
    ("bert", {"hidden_act": "relu"}, "hidden_act='relu', but models here have 'gelu'"),
    ("bert", {"is_decoder": True}, "is_decoder=True"),
    ("bert", {"hidden_dropout_prob": float("nan")}, "dropout must be finite, not nan"),
    ("t5", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets=16, but models here have 32"),
    ("t5", {"num_decoder_layers": 3}, "num_decoder_layers=3, but models here have 2"),
    ("t5", {"feed_forward_proj": "gated-relu"}, "feed_forward_proj='gated-relu'"),
]


@pytest.mark.parametrize(
    ("case", "entries", "said"), LACKING, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_models_here_do_not_have_is_refused_by_its_name(case, entries, said, changed):
    with pytest.raises(UsageError) as refused:
        from_pretrained(changed(case, **entries))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def renamed(old, new):
    return lambda tensors: {old: None, new: tensors[old]}


@pytest.mark.parametrize(
    ("case", "tensors", "said"),
    [
        (
            "gpt2",
            renamed("transformer.ln_f.bias", "transformer.ln_f.beta"),
            'lack "transformer.ln_f.bias"; they have, and the model does not, "transformer.ln_f.beta"',
        ),
        (
            "llama",
            lambda tensors: {name: None for name in tensors if "layers.1." in name and "norm" in name},
            'lack "model.layers.1.input_layernorm.weight" and "model.layers.1.post_attention_layernorm.weight"',
        ),
        (
            "gpt2",
            lambda tensors: {name: tensors[name].T for name in tensors if name.endswith("c_fc.weight")},
            'in another shape "transformer.h.0.mlp.c_fc.weight", (60, 15) where params.decoder.layer_0.feed_forward'
            '.hidden.kernel needs (15, 60) and "transformer.h.1.mlp.c_fc.weight"',
        ),
        (
            "gpt2",
            lambda tensors: {"lm_head.weight": tensors["transformer.wte.weight"] + 1},
            '"lm_head.weight" should be "transformer.wte.weight" once more, but is another',
        ),
        (
            "gpt2",
            lambda tensors: {"wpe.weight": tensors["transformer.wpe.weight"]},
            'two tensors are "transformer.wpe.weight"',
        ),
        ("bert_pretraining", lambda _: {"bert.pooler.dense.bias": None}, 'lack "bert.pooler.dense.bias"'),
    ],
)
def test_tensors_that_do_not_fit_are_all_named(case, tensors, said, changed):
    with pytest.raises(UsageError) as refused:
        from_pretrained(changed(case, tensors))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def index(**places):
    return json.dumps({"weight_map": places})


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


FAULTS = {
    "no folder": (lambda folder: (folder / "config.json").unlink(), "config.json: No such file"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json: it is no JSON"),
    "deep JSON": (lambda folder: (folder / "config.json").write_text("[" * 10**5), "config.json: it is no JSON"),
    "no object": (lambda folder: (folder / "config.json").write_text("[1]"), "config.json: it is no JSON object"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has neither model.safetensors nor"),
    "cut file": (lambda folder: cut(folder / "model.safetensors"), "it is no safetensors file, or damaged"),
}
INDICES = {
    "missing shard": (index(a="none.safetensors"), "none.safetensors: No such file"),
    "shard elsewhere": (index(a="../model.safetensors"), 'the file "../model.safetensors", which is not in its folder'),
    "shard that is none": (index(a=".."), "is no file of weights by its name"),
    "lying index": (
        index(**{"transformer.wpe": "part.safetensors"}),
        'is wrong about "transformer.h.0.attn.c_attn.bias" and',
    ),
    "no index": ("{}", 'has no "weight_map"'),
    "numbers": ('{"weight_map": {"a": 3}}', 'has no "weight_map"'),
}


@pytest.mark.parametrize("fault", [*FAULTS, *INDICES])
def test_a_damaged_folder_is_told_in_a_sentence(fault, changed):
    folder = changed("gpt2")
    if fault in FAULTS:
        spoil, said = FAULTS[fault]
        spoil(folder)
    else:
        text, said = INDICES[fault]
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UsageError) as refused:
        from_pretrained(folder)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def words(count):
    """A tokenizer of so many words, that pads to eight and cuts to two."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({f"w{index}": index for index in range(count)}, unk_token="w0")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(2)
    return tokenizer


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is no folder .*gpt2$"):
        from_pretrained(tmp_path / "gpt2")


def test_a_tokenizer_comes_along_and_neither_pads_nor_cuts(theirs, tmp_path):
    model, params, _ = from_pretrained(theirs / "gpt2")
    save_pretrained(model, params, tmp_path / "ours", words(31))
    tokenizer = from_pretrained(tmp_path / "ours")[2]
    assert tokenizer.encode("w3 w1 w30").ids == [3, 1, 30]
    assert tokenizer.decode([3, 1, 30]) == "w3 w1 w30"


def test_another_tokenizer_is_refused(changed, monkeypatch):
    folder = changed("gpt2")
    words(32).save(str(folder / "tokenizer.json"))
    with pytest.raises(
        UsageError, match=r"tokenizer.json has ids up to 31, the model knows 31: it is of another model"
    ):
        from_pretrained(folder)
    (folder / "tokenizer.json").write_text('{"kind": "bytes", "special": false}')
    with pytest.raises(UsageError, match="cannot read .*tokenizer.json: it is no tokenizer"):
        from_pretrained(folder)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r'tokenizer.json needs a package: pip install "ceteris-research\[text\]"'):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (TextCNN(), "no published family has models like TextCNN"),
        (TransformerClassifier(), "no published family has models like TransformerClassifier"),
        (gpt2(window=5), "gpt2 does not have model.window=5"),
        (gpt2(window=5, tied=False), "gpt2 does not have model.window=5 and model.tied=False"),
        (llama(residual=False), "llama does not have model.residual=False"),
        (bert(norm="rmsnorm"), "bert does not have model.norm='rmsnorm'"),
        (t5(target_vocabulary=7), "t5 does not have model.target_vocabulary=7"),
    ],
)
def test_a_model_that_no_family_has_is_not_written(model, said, tmp_path):
    with pytest.raises(UsageError, match="no published family has") as refused:
        save_pretrained(model, {}, tmp_path / "ours")
    assert said in str(refused.value) and not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    "model",
    [
        gpt2(dropout=0.3, remat="full"),
        gpt2(feed_forward="relu", heads=3),
        llama(tied=True),
        llama(bias=True),
        bert(),
        t5("small"),
        t5(),
    ],
)
def test_a_published_model_is_of_its_family_however_it_was_trained(model):
    assert kind_of(model) in CASES.values()


def test_what_cannot_be_written_leaves_the_folder_as_it_is(theirs, tmp_path):
    model, params, _ = from_pretrained(theirs / "gpt2")
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(UsageError, match="is not empty: name a new folder"):
        save_pretrained(model, params, tmp_path)
    with pytest.raises(UsageError, match='not those of the model: "decoder.norm.bias" is another, or not in both'):
        save_pretrained(
            model, params | {"decoder": params["decoder"] | {"norm": {"scale": np.ones(15)}}}, tmp_path / "a"
        )
    with pytest.raises(UsageError, match="the tokenizer has ids up to 31, the model knows 31"):
        save_pretrained(model, params, tmp_path / "a", words(32))
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_the_card_says_what_follows_from_the_parameters_and_no_more(theirs, tmp_path):
    model, params, _ = from_pretrained(theirs / "gpt2")
    save_pretrained(model, params, tmp_path / "ours")
    card = (tmp_path / "ours" / "README.md").read_text()
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert card.startswith("---\nlibrary_name: transformers\n---\n")
    assert f"{count:,} parameters of a `gpt2` in float32" in card and "| n_layer | 2 |" in card
    assert "GPT2LMHeadModel.from_pretrained" in card


def stacked(blocks):
    """The parameters of blocks in a loop, which are those of each, one behind the other."""
    layers = [blocks[name] for name in sorted(blocks) if name.startswith("layer_")]
    others = {name: block for name, block in blocks.items() if not name.startswith("layer_")}
    return {**others, "layers": jax.tree.map(lambda *leaves: np.stack(leaves), *layers)}


@pytest.mark.parametrize("case", ["llama", "t5"])
def test_blocks_in_a_loop_are_written_and_begun_with_as_others(case, theirs, tmp_path):
    model, params, _ = from_pretrained(theirs / case)
    looped = model.clone(scan=True)
    own = {name: stacked(part) if name in ("encoder", "decoder") else part for name, part in params.items()}
    save_pretrained(looped, own, tmp_path / "ours")
    again, same, _ = from_pretrained(tmp_path / "ours")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, params)
    start = Pretrained(str(theirs / case), read_weights(theirs / case)[1])
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), own)
    taken = take_pretrained(start, looped, {"params": shapes}, "start.0")["params"]
    jax.tree.map(np.testing.assert_array_equal, taken, own)


def test_what_is_said_beside_a_model_survives(theirs, changed, tmp_path):
    labels = {"id2label": {str(index): f"kind {index}" for index in range(5)}}
    labels["label2id"] = {label: int(index) for index, label in labels["id2label"].items()}
    ids = {"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": 0}
    folder = changed("bert_classifier", **labels, **ids)
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    said = {"eos_token": {"content": "w4"}, "bos_token": "w3", "chat_template": "{{ eos_token }}", "pad_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    model, params, _ = from_pretrained(folder)
    save_pretrained(model, params, tmp_path / "ours", words(29), like=folder)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert {name: written[name] for name in (*labels, *ids)} == {**labels, **ids}
    assert json.loads((tmp_path / "ours" / "generation_config.json").read_text()) == {"temperature": 0.5}
    template = read_template(tmp_path / "ours")
    assert template == Template("{{ eos_token }}", {"eos_token": "w4", "bos_token": "w3"})
    assert from_pretrained(tmp_path / "ours")[0] == model

    other = model.clone(classes=2)  # for which the names are those of others
    shapes = jax.eval_shape(other.init, jax.random.key(0), np.zeros((1, 1), np.int32))["params"]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    save_pretrained(other, zeros, tmp_path / "two", like=folder)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}
