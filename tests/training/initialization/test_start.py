"""A run that begins with the parameters of another one."""

import dataclasses
import json
import shutil
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from research.data import Text, Trained
from research.errors import RunError, UsageError
from research.experiment import Experiment, Pretrained, Start, fingerprint, from_json, join, replace, split, to_json
from research.models import RecurrentLanguageModel
from research.optimization import Optimizer
from research.tasks import LanguageModeling
from research.training import Interrupted, check, restore, train
from research.training.initialization.start import check_tokens, start_folder
from research.training.storage import sealed
from research.training.update.shapes import shapes
from research.training.update.state import init


@pytest.fixture(scope="session")
def follower(tiny):
    """Takes the first block of a shorter run with another seed."""
    first = replace(tiny, {"seed": 11, "steps": 4})
    return replace(tiny, {"start": (Start(first, ("block_0",)),)})


def test_start_is_part_of_the_value(tiny, follower):
    assert from_json(to_json(follower)) == follower
    assert join(*split(follower)) == follower
    assert fingerprint(follower) != fingerprint(tiny)
    assert fingerprint(replace(follower, {"start.0.experiment.seed": 12})) != fingerprint(follower)
    assert fingerprint(replace(follower, {"seed": 12})) == fingerprint(follower)


@pytest.mark.slow
def test_named_parameters_are_taken_and_the_others_are_new(follower, options, tmp_path):
    with pytest.raises(Interrupted):
        train(follower, tmp_path / "run", dataclasses.replace(options, stop_after=1))
    (folder,) = (tmp_path / "run" / "start").iterdir()
    first, trained = restore(folder)
    assert first == follower.start[0].experiment and int(trained.step) == first.steps
    still = replace(follower, {"optimizer.learning_rate": 0.0, "optimizer.weight_decay": 0.0, "steps": 1})
    shared = dataclasses.replace(options, start_dir=str(tmp_path / "run" / "start"))
    train(still, tmp_path / "still", shared)
    assert not (tmp_path / "still" / "start").exists()
    _, state = restore(tmp_path / "still")
    fresh = init(still, jax.random.key(still.seed))
    chex.assert_trees_all_equal(state.params["block_0"], trained.ema["block_0"])
    chex.assert_trees_all_close(state.ema["block_0"], trained.ema["block_0"], rtol=1e-6)  # averaged once more
    chex.assert_trees_all_close(state.params["block_1"], fresh.params["block_1"], rtol=1e-6)  # not compiled alike
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(state.params["block_0"], fresh.params["block_0"], rtol=1e-2)


def test_parameters_are_taken_from_one_path_to_another_and_from_several_runs(tiny, options, tmp_path):
    still = {"model.channels": (3, 3, 3), "steps": 1, "optimizer.learning_rate": 0.0, "optimizer.weight_decay": 0.0}
    three = replace(tiny, still)
    first, second = (replace(three, {"seed": seed}) for seed in (11, 12))
    starts = Start(first, (("block_1", "block_2"), "logits")), Start(second, ("block_1",))
    train(replace(three, {"start": starts}), tmp_path / "run", options)
    one, two = (restore(start_folder(start.experiment, tmp_path / "run", options))[1].evaluated for start in starts)
    found = restore(tmp_path / "run")[1].params
    expected = {"block_2": one["block_1"], "logits": one["logits"], "block_1": two["block_1"]}
    chex.assert_trees_all_equal({name: found[name] for name in expected}, expected)
    assert not np.array_equal(found["block_0"]["Conv_0"]["kernel"], one["block_0"]["Conv_0"]["kernel"])


def test_what_two_would_bring_is_refused(tiny):
    start = Start(replace(tiny, {"seed": 11}), ("block_0", "logits"))
    for starts, where in (
        ((start, Start(tiny, ("logits.bias",))), "start.0 and start.1"),
        ((Start(tiny, ("logits", ("logits", "logits"))),), "start.0 twice"),
        ((start, Pretrained("all.safetensors", "f00d")), "start.0 and start.1"),
    ):
        with pytest.raises(UsageError, match=rf'parameters ".*" are brought by {where}: leave them out of one'):
            check(replace(tiny, {"start": starts}))


def test_interrupted_equals_uninterrupted_from_the_first_run_on(follower, options, tmp_path):
    train(follower, tmp_path / "whole", options)
    for step in (2, 5):  # the first run has four steps
        with pytest.raises(Interrupted):
            train(follower, tmp_path / "parts", dataclasses.replace(options, stop_after=step))
    train(follower, tmp_path / "parts", options)
    chex.assert_trees_all_equal(restore(tmp_path / "parts")[1], restore(tmp_path / "whole")[1])
    journals = [(tmp_path / part / "metrics.jsonl").read_bytes() for part in ("parts", "whole")]
    assert journals[0] == journals[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"start.0.parameters": ("block_O",)}, 'model has no parameters "block_O"; did you mean'),
        ({"start.0.experiment.model.channels": (4, 5)}, r'"block_0.Conv_0.bias" are \(3,\) in model and \(4,\)'),
        (
            {"start.0.experiment.model.channels": (), "start.0.parameters": ("block_1",)},
            "start.0.experiment.model has no",
        ),
        ({"data.test": "tset"}, 'has no split "tset"'),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(follower, options, tmp_path, overrides, message):
    with pytest.raises(UsageError, match=message):
        train(replace(follower, overrides), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_embeddings_are_taken_only_where_tokens_are_the_same(tmp_path, options):
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    for folder, letters in ((first, "ab\n"), (second, "ac\n")):
        Path(folder).mkdir()
        Path(folder, "text.txt").write_text(letters * 40)
    before = Experiment(
        RecurrentLanguageModel(vocabulary=7, embedding=3, hidden=5),
        LanguageModeling(),
        Text(first, tokenizer=Trained("characters", 7), length=5),
        Optimizer("sgd", learning_rate=0.1),
        steps=1,
        batch_size=2,
    )
    after = replace(before, {"start": (Start(before, ("embed",)),)})
    check_tokens(after, shapes(after).state.params, options)
    other = replace(after, {"data.name": second})
    check_tokens(replace(other, {"start.0.parameters": ("recurrence",)}), shapes(other).state.params, options)
    for refuse in (
        lambda: check_tokens(other, shapes(other).state.params, options),
        lambda: train(other, tmp_path / "run", options),
    ):
        with pytest.raises(UsageError, match="the tokenizers of data and start.0.experiment.data differ"):
            refuse()
    assert not (tmp_path / "run").exists()


def test_another_dataset_behind_the_same_name_is_refused(tiny, undisturbed, options, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").unlink()
    described = json.loads((folder / "dataset.json").read_text())
    assert described["splits"]["train"] > 0 and "source_sha256" in described["metadata"]
    described["metadata"]["source_sha256"] = "0"
    for name in ("dataset.json", sealed.NAME):  # as if this run had never known the dataset as it is
        (folder / name).unlink()
    sealed.write(folder / "dataset.json", json.dumps(described))
    with pytest.raises(RunError, match="dataset.json is not what the data says now"):
        train(tiny, folder, options)
