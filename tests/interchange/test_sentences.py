"""Folders of sentence-transformers give the vectors that its pooling makes of what transformers' model gives."""

import json

import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import from_pretrained, read_tensors, save_pretrained
from research.interchange.sentences import UNREAD
from research.models.model import model_inputs
from tests.golden.folders import golden, write

MODES = ("pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens")


@pytest.fixture
def folder(tmp_path):
    """The folder of a BERT."""
    return write("bert", tmp_path / "bert")


def pools(folder, *modes, kinds=("Transformer", "Pooling"), places=("", "1_Pooling", "2_Normalize"), **entries):
    """Writes what the library does."""
    modules = [
        {"idx": index, "name": str(index), "path": places[index], "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    said = {"word_embedding_dimension": 15, **{mode: mode in modes for mode in MODES}, **entries}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_vectors_are_pooled_from_the_hidden_states_of_transformers(mode, folder):
    """With length one where the folder says so, here for the mean."""
    arrays = golden("bert")
    counts = np.arange(arrays["tokens"].shape[1])[None, :, None] < arrays["lengths"][:, None, None]
    expected = {
        "pooling_mode_cls_token": arrays["hidden"][:, 0],
        "pooling_mode_mean_tokens": (arrays["hidden"] * counts).sum(1) / counts.sum(1),
        "pooling_mode_max_tokens": np.where(counts, arrays["hidden"], -np.inf).max(1),
    }[mode]
    kinds = ("Transformer", "Pooling")
    if mode == "pooling_mode_mean_tokens":
        kinds = (*kinds, "Normalize")
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    model, params, _ = from_pretrained(pools(folder, mode, kinds=kinds))
    inputs = model_inputs(model, {name: arrays[name] for name in ("tokens", "segments", "lengths")})
    found = jax.jit(model.apply)({"params": params}, inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_there_and_back_it_pools_as_before(folder, tmp_path):
    model, params, _ = from_pretrained(pools(folder, MODES[2], kinds=("Transformer", "Pooling", "Normalize")))
    save_pretrained(model, params, tmp_path / "ours")
    again, same, _ = from_pretrained(tmp_path / "ours")
    assert again == model and (model.pooling, model.normalize) == ("max", True)
    assert "sentences" not in json.loads((tmp_path / "ours" / "config.json").read_text())
    jax.tree.map(np.testing.assert_array_equal, same, params)
    written, read = (read_tensors(each / "model.safetensors")[0] for each in (tmp_path / "ours", folder))
    assert written.keys() == read.keys()


WAYS = {
    "two": ({"modes": MODES[:2]}, "asks for pooling_mode_cls_token and pooling_mode_mean_tokens: one of"),
    "none": ({}, "asks for nothing: one of"),
    "weighted": ({"pooling_mode_weightedmean_tokens": True}, "asks for pooling_mode_weightedmean_tokens: one of"),
    "another": ({"pooling_mode": "lasttoken"}, "asks for pooling_mode: one of"),
    "dense": ({"kinds": ("Transformer", "Pooling", "Dense")}, "asks for Transformer, Pooling, Dense, where"),
    "elsewhere": ({"places": ("", "../bert")}, "asks for folders '' and '../bert'"),
    "within": ({"places": ("0_Transformer", "1_Pooling")}, "asks for folders '0_Transformer' and"),
}


@pytest.mark.parametrize("way", WAYS)
def test_another_way_of_pooling_is_refused_by_its_name(way, folder):
    said, message = WAYS[way]
    with pytest.raises(UsageError, match=message):
        from_pretrained(pools(folder, *said.pop("modes", ()), **said))


def test_what_changes_texts_and_other_families_are_refused(folder, tmp_path):
    pools(folder, MODES[1])
    for name, entry in UNREAD.items():
        (folder / name).write_text(json.dumps({entry: "query", "prompts": {}}))
        with pytest.raises(UsageError, match=f"{name} asks for {entry}='query', which is not done here"):
            from_pretrained(folder)
        (folder / name).write_text(json.dumps({entry: None}))
    assert from_pretrained(folder)[0].pooling == "mean"
    (folder / "modules.json").write_text('[{"type": "Transformer"}]')
    with pytest.raises(UsageError, match="modules.json should name modules, each with its type and path"):
        from_pretrained(folder)
    with pytest.raises(UsageError, match="modules.json pools what a gpt2 gives, which is read of bert alone"):
        from_pretrained(pools(write("gpt2", tmp_path / "gpt2"), MODES[1]))
