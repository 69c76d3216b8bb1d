"""Frozen networks that a task looks at: trained first, given to every step, and no part of the run's own state."""

import dataclasses
import json
import shutil

import chex
import jax
import numpy as np
import pytest

from research.ablation import Study, ablate, grid
from research.data import evaluation_batches, gather
from research.errors import RunError, UsageError
from research.experiment import Placement, fingerprint, from_json, replace, split, to_json
from research.planning.description import describe
from research.planning.plan import plan
from research.tasks import Classification
from research.training import Interrupted, check, evaluate, predict, read_references, restore, train
from research.training.initialization.beginning import begin
from research.training.initialization.start import start_folder
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.update.step import evaluation_batch, training_batch
from tests.training.distilling import pupil


@pytest.fixture(scope="module")
def distilled(tiny):
    return pupil(tiny)


@pytest.fixture(scope="module")
def run(distilled, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled") / "run"
    train(distilled, folder, options)
    return folder


def test_they_are_part_of_the_value(distilled):
    assert from_json(to_json(distilled)) == distilled
    other = replace(distilled, {"references.0.1.seed": 22})
    assert fingerprint(other) != fingerprint(distilled) and split(other)[0] == split(distilled)[0]


def test_a_step_is_given_what_the_finished_network_says_of_its_own_batch(distilled, run, options):
    (_, teacher), *_ = distilled.references
    folder = start_folder(teacher, run, options)
    trained, state = restore(folder)
    assert trained == teacher and int(state.step) == teacher.steps
    references = read_references(distilled, run, options)
    records = distilled.data.open("train", options.data_dir)
    raw = next(iter(evaluation_batches(records, 16)))
    program, hyperparameters = split(distilled)
    for batch in (
        training_batch(program, hyperparameters, 3, raw, references),
        evaluation_batch(program, hyperparameters, raw, references),
    ):
        collections = {"params": state.evaluated, **state.variables}
        expected = teacher.model.apply(collections, batch["image"], train=False)
        np.testing.assert_array_equal(batch["teacher"], expected)
    assert not np.array_equal(gather(raw)["image"], batch["image"])


def test_it_is_in_no_checkpoint_and_its_digest_is_in_the_manifest(distilled, run):
    state = restore(run)[1]
    chex.assert_shape(state.params["block_0"]["Conv_0"]["kernel"], (3, 3, 1, 3))  # the pupil's, not the teacher's
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        manifest = checkpoints._read_manifest("latest", distilled.steps)
    assert manifest["references"].keys() == {"teacher"} and len(manifest["references"]["teacher"]) == 32


def test_interrupted_equals_uninterrupted(distilled, run, options, tmp_path):
    for step in (1, 5):
        with pytest.raises(Interrupted):
            train(distilled, tmp_path / "parts", dataclasses.replace(options, stop_after=step))
    train(distilled, tmp_path / "parts", options)
    chex.assert_trees_all_equal(restore(tmp_path / "parts")[1], restore(run)[1])
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()


def test_another_network_in_its_place_is_refused_on_resume(distilled, run, options, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    (_, teacher), *_ = distilled.references
    place = start_folder(teacher, folder, options)
    state = restore(place)[1]
    params, ema = jax.tree.map(lambda leaf: leaf / 2, (state.params, state.ema))
    for experiment, reason in (
        (replace(teacher, {"seed": 99}), "is a state of the run .* seed 99"),
        (teacher, 'was trained with another reference "teacher" than there is now'),
    ):
        shutil.rmtree(place / "checkpoints")
        with Checkpoints(place / "checkpoints", experiment=experiment) as checkpoints:
            checkpoints.save("latest", state._replace(params=params, ema=ema))
        with pytest.raises(RunError, match=reason):
            train(distilled, folder, options)


def test_a_state_that_was_written_before_any_step_has_looked_at_none(distilled, run, options, tmp_path):
    begin(distilled, tmp_path / "run", options)
    train(distilled, tmp_path / "run", options)
    chex.assert_trees_all_equal(restore(tmp_path / "run")[1], restore(run)[1])


def test_evaluation_and_prediction_look_at_it_too(distilled, run, options):
    state, references = restore(run)[1], read_references(distilled, run, options)
    held = json.loads((run / "result.json").read_text())["metrics"]["test"]
    assert evaluate(distilled, state, "test", options, references) == held and held["divergence"] > 0
    assert len(predict(distilled, state, "test", options, references)["label"]) > 100
    for ask in (evaluate, predict):
        with pytest.raises(UsageError, match='the reference "teacher" is not given'):
            ask(distilled, state, "test", options)


@pytest.mark.slow
def test_a_sweep_shares_it_and_trials_with_another_one_run_apart(distilled, options, tmp_path):
    axes = grid({"references.0.1.seed": (21, 22), "optimizer.learning_rate": (0.02, 0.01)})
    study = Study(axes, seeds=1)
    stores = {mode: ablate(distilled, study, tmp_path / mode, options, mode) for mode in ("loop", "vmap")}
    assert len(list((tmp_path / "vmap" / "groups").iterdir())) == 2
    outcomes = {mode: {(each.name, each.seed): each for each in store.outcomes()} for mode, store in stores.items()}
    assert len(outcomes["loop"]) == 4 and {each.status for each in outcomes["vmap"].values()} == {"done"}
    for key, alone in outcomes["loop"].items():
        together = outcomes["vmap"][key]
        for name in ("loss", "divergence"):
            np.testing.assert_allclose(together.metrics["test"][name], alone.metrics["test"][name], rtol=1e-3)


def test_a_plan_counts_it_and_a_description_names_it(distilled, data_dir):
    held = plan(distilled, "cpu", data_dir=data_dir).candidate.memory.held
    (_, teacher), *_ = distilled.references
    image = np.zeros((1, 8, 8, 1), np.float32)
    leaves = jax.tree.leaves(jax.eval_shape(lambda: teacher.model.init(jax.random.key(0), image, False)))
    assert held["references"] == sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    assert "references" not in plan(teacher, "cpu", data_dir=data_dir).candidate.memory.held
    assert f"reference teacher, frozen: parameters {held['references'] // 4:,}\n" in describe(distilled)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"references": ()}, 'Distillation looks at one reference "teacher", and references has 0'),
        ({"task": Classification()}, 'Classification does not look at the reference "teacher", but at none'),
        ({"references.0.0": "tutor"}, 'looks at one reference "teacher", and references has 0'),
    ],
)
def test_names_that_do_not_fit_are_refused(distilled, options, tmp_path, overrides, message):
    with pytest.raises(UsageError, match=message):
        train(replace(distilled, overrides), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_sum_over_examples_is_not_computed_in_parts(tiny, options, tmp_path, monkeypatch):
    monkeypatch.setattr(Classification, "additive", False)
    check(tiny)
    with pytest.raises(UsageError, match=r"of Classification is none of single examples.*set accumulation to 1"):
        check(replace(tiny, {"batch_size": 256, "accumulation": 2}))
    with pytest.raises(UsageError, match=r"is none of single examples.*set placement.method to jit"):
        train(tiny, tmp_path / "run", dataclasses.replace(options, placement=Placement(method="pmap")))
