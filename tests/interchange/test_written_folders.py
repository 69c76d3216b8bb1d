"""Folders that are written: what comes along, and what is not written."""

import json
import sys

import jax
import numpy as np
import pytest
import tokenizers

from research.errors import UsageError
from research.experiment import Pretrained
from research.generation.chat import Template, read_template
from research.interchange import from_pretrained, read_weights, save_pretrained
from research.interchange.families import kind_of
from research.models import TextCNN, TransformerClassifier, bert, gpt2, llama, t5
from research.training.initialization.pretrained import take_pretrained
from tests.golden.folders import FAMILIES as CASES


def words(count):
    """A tokenizer of so many words, that pads to eight and cuts to two."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({f"w{index}": index for index in range(count)}, unk_token="w0")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(2)
    return tokenizer


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
