"""Folders that are refused: what no model here has, what does not fit, what is damaged."""

import json

import pytest

from research.errors import UsageError
from research.interchange import from_pretrained

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


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is no folder .*gpt2$"):
        from_pretrained(tmp_path / "gpt2")
