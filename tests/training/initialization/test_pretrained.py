"""A run that begins with the weights of a file."""

import dataclasses
import hashlib
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Images
from research.errors import UsageError
from research.experiment import (
    Experiment,
    Pretrained,
    Start,
    difference,
    fingerprint,
    from_json,
    join,
    replace,
    split,
    to_json,
)
from research.fields import annotations
from research.interchange import from_pretrained, names, read_weights, to_tensors, write_tensors
from research.models import BertClassifier, MobileNet, ResNet
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import Interrupted, check, restore, train
from research.training.initialization.beginning import begin
from research.training.initialization.pretrained import (
    compare_activation,
    compare_configuration,
    take_pretrained,
)
from research.training.update.state import init
from tests.golden.folders import write


def written(model, file):
    """Write drawn weights of a model; return all its collections, and what begins with them."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    generator = np.random.default_rng(0)
    shapes = {name: shapes[name] for name in ("params", "batch_stats")}
    drawn = jax.tree.map(lambda leaf: generator.uniform(0.1, 0.9, leaf.shape).astype(np.float32), shapes)
    write_tensors(file, to_tensors(drawn, names(model)))
    return drawn, Pretrained(str(file), hashlib.sha256(file.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def network():
    return ResNet(blocks=(1,), width=3, stem="small")


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    return written(network, tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.fixture(scope="module")
def tuned(network, weights):
    optimizer = Optimizer("adamw", learning_rate=0.02, ema=0.8)
    return Experiment(network, Classification(), Images("digits"), optimizer, 4, 19, 3, (weights[1],))


def test_where_the_file_lies_is_no_part_of_the_value_and_what_is_in_it_is(tuned):
    moved = replace(tuned, {"start.0.file": "elsewhere.safetensors"})
    assert moved == tuned and hash(split(moved)[0]) == hash(split(tuned)[0])
    assert fingerprint(moved) == fingerprint(tuned) and difference(moved, tuned) == []
    assert from_json(to_json(moved)).start[0].file == "elsewhere.safetensors"
    for path, value in (("start.0.sha256", "0"), ("start.0.parameters", ("stem",)), ("start", ())):
        other = replace(tuned, {path: value})
        assert fingerprint(other) != fingerprint(tuned) and difference(other, tuned) == [path]
    for value in (tuned, moved):
        assert from_json(to_json(value)) == value and join(*split(value)) == value


def test_everything_is_taken_and_a_run_goes_on_from_it(tuned, weights, options, tmp_path):
    state = begin(tuned, tmp_path / "begun", options)
    assert int(state.step) == 0
    for tree in (state.params, state.ema):
        chex.assert_trees_all_equal(tree, weights[0]["params"])
    chex.assert_trees_all_equal(state.variables["batch_stats"], weights[0]["batch_stats"])
    chex.assert_trees_all_equal(restore(tmp_path / "begun")[1], state)
    train(tuned, tmp_path / "whole", options)
    train(tuned, tmp_path / "begun", options)
    trained = restore(tmp_path / "whole")[1]
    chex.assert_trees_all_equal(restore(tmp_path / "begun")[1], trained)
    chex.assert_trees_all_equal(begin(tuned, tmp_path / "begun", options), trained)  # nothing begins anew


@pytest.mark.fault("F46")
def test_an_activation_that_no_tensor_tells_is_said(caplog):
    """Published weights of MobileNet v1 are 0.37 off in its logits with relu, to which they fit as well."""
    start = Pretrained("mobilenetv1_100.safetensors", "0")
    for model, said in ((MobileNet(), True), (MobileNet(activation="relu6"), False), (ResNet(), False)):
        caplog.clear()
        compare_activation(start, model)
        assert [record.getMessage() for record in caplog.records] == [
            "published weights of MobileNet were trained with relu6, and model.activation is relu: set it to relu6 "
            "unless mobilenetv1_100.safetensors holds weights of your own"
        ] * said


def test_what_the_folder_of_a_language_model_says_otherwise_is_told_where_no_shape_tells_it(tmp_path, caplog):
    folder = write("gpt2", tmp_path / "folder")
    model = from_pretrained(folder)[0]
    for own, said in (({"heads": 5}, "model.heads=3, and here it is 5"), ({"layers": 7, "max_length": 5}, None)):
        caplog.clear()
        compare_configuration(Pretrained(str(folder), "0"), model.clone(**own))
        assert [record.getMessage() for record in caplog.records] == ([f"{folder} is of {said}"] if said else [])
    compare_configuration(Pretrained(str(folder / "model.safetensors"), "0"), model.clone(heads=5))
    compare_configuration(Pretrained(str(folder), "0"), ResNet())
    assert not caplog.records


def test_the_body_of_a_bert_is_taken_by_another_with_a_head(tmp_path):
    folder = write("bert", tmp_path / "folder")
    bare, params, _ = from_pretrained(folder)
    model = BertClassifier(classes=3, **{name: getattr(bare, name) for name in annotations(type(bare))})
    shapes = {"params": jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]}
    start = Pretrained(str(folder), read_weights(folder)[1], ("bert",))
    taken = take_pretrained(start, model, shapes, "start.0")["params"]
    chex.assert_trees_all_equal(taken["bert"], params)
    assert taken["logits"] == shapes["params"]["logits"]


def test_a_run_that_has_begun_needs_the_file_no_more(tuned, options, tmp_path):
    file = shutil.copy(tuned.start[0].file, tmp_path / "weights.safetensors")
    here = replace(tuned, {"start.0.file": str(file)})
    with pytest.raises(Interrupted):
        train(here, tmp_path / "run", dataclasses.replace(options, stop_after=2))
    (tmp_path / "weights.safetensors").unlink()
    train(here, tmp_path / "run", options)
    with pytest.raises(UsageError, match=r"cannot read .*weights.safetensors: No such file"):
        train(here, tmp_path / "other", options)
    assert not (tmp_path / "other").exists()


def test_named_parameters_are_taken_and_a_head_of_another_size_is_new(tuned, network, options, tmp_path):
    drawn, start = written(network.clone(classes=7), tmp_path / "seven.safetensors")
    part = replace(tuned, {"start": (dataclasses.replace(start, parameters=("stem", "stage_0.block_0.unit_0")),)})
    state = begin(part, tmp_path / "run", options)
    fresh = init(part, jax.random.key(part.seed))
    for tree, source in ((state.params, "params"), (state.variables["batch_stats"], "batch_stats")):
        chex.assert_trees_all_equal(tree["stem"], drawn[source]["stem"])
        chex.assert_trees_all_equal(tree["stage_0"]["block_0"]["unit_0"], drawn[source]["stage_0"]["block_0"]["unit_0"])
    chex.assert_trees_all_close(state.params["logits"], fresh.params["logits"], rtol=1e-6)  # not compiled alike
    unit = state.params["stage_0"]["block_0"]["unit_1"]
    chex.assert_trees_all_close(unit, fresh.params["stage_0"]["block_0"]["unit_1"], rtol=1e-6)


def test_another_run_begins_with_one_that_began_with_a_file(tuned, weights, options, tmp_path):
    still = replace(tuned, {"optimizer.learning_rate": 0.0, "optimizer.weight_decay": 0.0, "steps": 1})
    after = replace(still, {"start": (Start(still, ("stem", "logits")),), "seed": 5})
    train(after, tmp_path / "run", options)
    chex.assert_trees_all_close(restore(tmp_path / "run")[1].params["logits"], weights[0]["params"]["logits"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"start.0.sha256": "0"}, "is another file than start.0.sha256 says: its digest is"),
        ({"start.0.parameters": ("stm",)}, 'model has no parameters "stm"; did you mean "stem"'),
        ({"model.width": 5}, r"does not fit: the weights have in another shape .* where .* needs"),
        ({"model.blocks": (1, 1)}, 'does not fit: the weights lack "layer2.0.bn1.bias"'),
        ({"model.norm": "groupnorm"}, 'the weights have, and the model does not, "bn1.running_mean"'),
        ({"model.preactivation": True}, "neither torchvision nor timm has a ResNet"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed_or_written(
    tuned, options, tmp_path, overrides, said, monkeypatch
):
    wrong = replace(tuned, overrides)
    monkeypatch.setattr("jax._src.compiler.compile_or_get_cached", None)
    for refused in (lambda: check(wrong), lambda: train(wrong, tmp_path / "run", options)):
        with pytest.raises(UsageError, match=said):
            refused()
    assert not (tmp_path / "run").exists()


def test_the_folder_says_what_the_run_began_with(tuned, options, tmp_path):
    begin(tuned, tmp_path / "run", options)
    held = json.loads((tmp_path / "run" / "experiment.json").read_text())["start"]
    assert held == [{"class": "Pretrained", **dataclasses.asdict(tuned.start[0])}]
    with pytest.raises(UsageError, match=r"holds another experiment:\nstart: \(Pretrained"):
        begin(replace(tuned, {"start": ()}), tmp_path / "run", options)
