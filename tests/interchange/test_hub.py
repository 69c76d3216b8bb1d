"""Models that are named as on the Hugging Face Hub are found in the cache of this machine, without a network."""

import json
import shutil
import sys

import huggingface_hub
import jax
import numpy as np
import pytest
from huggingface_hub import constants, errors

from research.errors import UsageError
from research.experiment import Pretrained
from research.experiment.encoding import encode
from research.generation import __main__
from research.interchange import from_pretrained, locate, read_weights
from research.training.initialization.pretrained import take_pretrained
from research.weights import pretrained
from tests.golden.folders import write

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with one model, at one commit, which is that of its branch `main`; the library has no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hub" / "models--me--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots").mkdir()
    return write("gpt2", folder / "snapshots" / COMMIT)


def test_a_name_stands_for_the_folder_in_the_cache(cache):
    model, params, _ = from_pretrained("me/tiny")
    for revision in ("main", COMMIT):
        assert locate("me/tiny", revision) == (cache, COMMIT)
        again, same, _ = from_pretrained("me/tiny", revision)
        assert again == model
        jax.tree.map(np.testing.assert_array_equal, same, params)


def test_a_folder_of_that_name_wins(cache, tmp_path):
    (tmp_path / "me").mkdir()
    shutil.copytree(cache, tmp_path / "me" / "tiny")
    assert [str(part) for part in locate("me/tiny")] == ["me/tiny", "None"]
    with pytest.raises(UsageError, match="there is no folder me/other$"):
        locate(tmp_path.relative_to(tmp_path) / "me" / "other")  # a path is none of a hub


def test_a_run_that_begins_with_it_says_the_commit(cache):
    start = pretrained("me/tiny", "main")
    assert start == Pretrained("me/tiny", read_weights(cache)[1]) and encode(start)["revision"] == COMMIT
    model, params, _ = from_pretrained(cache)
    taken = take_pretrained(start, model, {"params": params}, "start.0")
    jax.tree.map(np.testing.assert_array_equal, taken["params"], params)
    for revision in (None, "main"):
        with pytest.raises(UsageError, match=f"start.0.revision must be a commit, .*: {COMMIT} now$"):
            take_pretrained(Pretrained("me/tiny", start.sha256, None, revision), model, {"params": params}, "start.0")


def test_what_is_not_here_and_cannot_be_fetched_is_told(cache, capsys, monkeypatch):
    for name, revision in (("me/huge", None), ("me/tiny", "other")):
        with pytest.raises(UsageError, match=f'no model "{name}".* in the cache of this machine, and the Hub cannot'):
            from_pretrained(name, revision)
    assert __main__.main(["me/huge", "--prompt", "a", "--revision", "v1"]) == 2
    assert 'no model "me/huge" at the revision "v1" in the cache' in capsys.readouterr().err
    with pytest.raises(UsageError, match="there is no folder me/huge/more$"):
        from_pretrained("me/huge/more")
    with pytest.raises(UsageError, match='"me/a--b" cannot be fetched from the Hub: '):
        from_pretrained("me/a--b")  # no name that the library takes
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r'no folder me/tiny, .* package: pip install "ceteris-research\[hub\]"'):
        from_pretrained("me/tiny")


def test_what_is_fetched_is_what_is_read_and_only_where_it_is_not_here(cache, monkeypatch):
    """A cache in which another program left config.json alone is none; neither is one that lacks a part of weights."""
    asked = []

    def fetch(*, local_files_only=False, **others):
        asked.append((local_files_only, others))
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    from_pretrained("me/tiny")
    assert [local for local, _ in asked] == [True]
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (cache / "model.safetensors").rename(cache / parts["a"])
    (cache / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    asked.clear()
    locate("me/tiny", "v1")
    assert [local for local, _ in asked] == [True, False] and asked[1][1]["revision"] == "v1"
    patterns = asked[1][1]["allow_patterns"]
    files = ("pytorch_model.bin", "onnx/model.safetensors", "model.fp16.safetensors", "modeling.py", *parts.values())
    kept = huggingface_hub.utils.filter_repo_objects(files, allow_patterns=patterns)
    assert list(kept) == list(parts.values())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.RepositoryNotFoundError, "there is no folder me/huge, and the Hub has no such model, or none that you"),
        (errors.GatedRepoError, 'the Hub gives "me/huge" to those alone who took its terms'),
        (errors.RevisionNotFoundError, 'the Hub has "me/huge", but not at the revision "v1"'),
    ],
)
def test_why_it_is_not_fetched_is_said(error, said, cache, monkeypatch):
    def fetch(*, local_files_only=False, **_):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(UsageError, match=said):
        locate("me/huge", "v1")
