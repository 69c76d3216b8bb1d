"""On every family of models: whatever happens to a run, it comes to the bits of one left alone, or says what is wrong.

How a run is stopped and resumed depends on the kinds of things that it carries and draws, of which `WHOLE` has each
(`tests/families.py`); a family is compiled once, and what is done to it starts from copies of its folder and uses the
same programs. Of the others a step is asked what a run depends on; of models of images test_image_models.py asks it,
where four that have every kind of layer stand for all.
What happens to files depends on the tree of a state alone, which test_integrity.py tries untrained; here three stand
for all.
"""

import contextlib
import dataclasses
import shutil
import time
import typing

import chex
import jax
import numpy as np
import pytest

from research.devices import compile_for
from research.errors import UsageError
from research.experiment import RunOptions, replace, split
from research.fields import children
from research.training import Diverged, restore, rollback, run, train
from research.training.faults.nonfinite import first_not_finite
from research.training.storage.folder import Folder
from research.training.storage.lineage import Lineage
from research.training.storage.liveness import host, kernel
from research.training.update.shapes import abstract_state
from research.training.update.skipping import NONFINITE
from research.training.update.step import init_state
from tests.families import FAMILIES, QUICK, SMALL, WHOLE, classes
from tests.training.one_step import assert_a_step_keeps_the_promises_of_a_run, floats, named, spoilt
from tests.training.storage.test_lock import leave, owner
from tests.training.test_exactness import LeftAlone

# From memory: what is read ahead is handed to the same program. That of examples on the device is another one.
OPTIONS = RunOptions(
    log_every=1, evaluate_every=2, checkpoint_every=3, residency="ram", progress="none", pictures=False
)
STEPS = (1, 2, 3)
COMPOSED = {"InceptionV1", "InceptionV3", "Xception"}
"""Of many convolutions, each begun as one of ResNet's or MobileNet's: to draw them all takes long to compile."""


def slow_but(quick, names):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module", params=slow_but(QUICK, WHOLE))
def alone(request, data_dir, tmp_path_factory):
    """A run of a family that is left alone."""
    folder = tmp_path_factory.mktemp("family")
    yield LeftAlone(FAMILIES[request.param], dataclasses.replace(OPTIONS, data_dir=data_dir), folder / "whole")
    shutil.rmtree(folder)


FOR_ALL = pytest.mark.parametrize("alone", QUICK, indirect=True, scope="module")


@pytest.fixture(scope="module")
def stopped(alone):
    """Folders of the same run, stopped after a step, to which it has come in as many parts.

    Which step it is matters to the loop, the data and the optimizer, which are the same for every family.
    """
    steps = STEPS if alone.experiment in map(FAMILIES.get, QUICK) else STEPS[:1]
    return {step: alone.stop(alone.folder.with_name("parts"), step) for step in steps}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_model_is_here():
    assert {type(experiment.model) for experiment in FAMILIES.values()} == classes()


@pytest.mark.fault("F1")
def test_stopped_after_any_step(alone, stopped, tmp_path):
    assert alone.experiment.steps == 1 + STEPS[-1]
    for step, folder in stopped.items():
        alone.assert_same_end(shutil.copytree(folder, tmp_path / str(step)))


@pytest.mark.slow
@pytest.mark.fault("F1", "F21")
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - WHOLE.keys() - SMALL.keys()))
def test_a_step_depends_on_its_state_and_batch(name, data_dir):
    experiment = replace(FAMILIES[name], {"optimizer.warmup": 0})  # the first step is to move something
    train = experiment.data.open("train", data_dir)
    raw = train[np.arange(experiment.batch_size) % len(train)]
    assert_a_step_keeps_the_promises_of_a_run(experiment, raw)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - WHOLE.keys() - COMPOSED))
def test_a_first_state_is_finite_and_of_its_seed(name):
    """Of those whose runs another family stands for, and whose step begins from numbers that were drawn."""
    program, hyperparameters = split(FAMILIES[name])
    initialize = compile_for(init_state, program, out_shardings="state", once=True)
    first, other = (initialize({**hyperparameters, "seed": np.uint32(seed)}) for seed in (1, 2))
    assert first_not_finite(first) is None and int(first.step) == 0
    chex.assert_trees_all_equal_shapes_and_dtypes(first, abstract_state(FAMILIES[name]))
    differing = jax.tree.map(lambda one, two: bool(np.any(one != two)), first.params, other.params)
    assert any(jax.tree.leaves(differing))


@FOR_ALL
@pytest.mark.fault("F2")
def test_killed_in_a_save(alone, stopped, tmp_path):
    """The folder is as a kill leaves it: a save not committed, half a line of the journal, and a lock's dead owner."""
    folder = Folder(shutil.copytree(stopped[3], tmp_path / "run"))
    uncommitted = folder.checkpoints / "latest" / "3.orbax-checkpoint-tmp"
    uncommitted.with_suffix("").rename(uncommitted)
    shutil.rmtree(uncommitted / "manifest")
    largest = max((path for path in uncommitted.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    folder.metrics.write_bytes(folder.metrics.read_bytes()[:-7])
    (folder.root / ".7.metrics.jsonl").write_bytes(folder.metrics.read_bytes()[:7])
    leave(folder.root, owner(host=host(), kernel=kernel(), born="long ago", since=time.time()))
    alone.assert_same_end(folder.root)
    found = [(event["event"], event.get("step"), event["pid"]) for event in Lineage(folder.lineage).events()[-3:-1]]
    assert found[0] == ("lost", None, 7) and found[1][:2] == ("resumed", 2)


@FOR_ALL
@pytest.mark.fault("F10")
def test_read_ahead_after_a_resume(alone, stopped, tmp_path):
    alone.assert_same_end(shutil.copytree(stopped[1], tmp_path / "run"), residency="stream")


@FOR_ALL
@pytest.mark.fault("F16")
def test_rolled_back(alone, stopped, tmp_path):
    """To the state at which another one stopped, and on to the same end; what came later is kept."""
    folder = shutil.copytree(alone.folder, tmp_path / "run")
    archive = rollback(folder, 3)
    chex.assert_trees_all_equal(restore(folder)[1], restore(stopped[3])[1])
    alone.assert_same_end(folder)
    assert (archive / "checkpoints" / "latest" / "4").is_dir() and (archive / "result.json").exists()


@pytest.mark.fault("F18")
@pytest.mark.parametrize("name", FAMILIES)
def test_another_value_of_any_field_of_the_model_is_refused(name, tmp_path):
    experiment = FAMILIES[name]
    Folder(tmp_path).create(experiment, {}, {})
    before = files(tmp_path)
    for field, value, annotation in children(experiment.model):
        other = another(experiment, f"model.{field}", value, annotation)
        with pytest.raises(UsageError, match="holds another experiment") as refused:
            train(other, tmp_path, OPTIONS)
        changed = f"model.{field}: {value!r} -> {getattr(other.model, field)!r}"
        assert str(refused.value).splitlines()[1:] == [changed]
    assert files(tmp_path) == before


def another(experiment, path, value, annotation):
    """Return the experiment with another value of a field: the first one that fits."""
    several = (value[:-1], (*value[:-1], 2)) if isinstance(value, tuple) else ()
    for other in (*choices(annotation), not value, *several, 2, 3, 0.25, 0.5, "other", None):
        with contextlib.suppress(UsageError):
            if other != value:
                return replace(experiment, {path: other})
    raise AssertionError(f"no other value fits {path}: {annotation}")


def choices(annotation):
    """Yield the words that an annotation allows."""
    for inner in typing.get_args(annotation):
        if isinstance(inner, str):
            yield inner
        yield from choices(inner)


@pytest.mark.fault("F21")
def test_not_finite(alone, stopped, tmp_path, monkeypatch):
    """A parameter that is NaN after step 2 is named; neither an evaluation nor a save takes the state.

    In the step after it the loss or its gradient tells, whatever the model does to a NaN.
    """
    folder, generator, faults = shutil.copytree(stopped[1], tmp_path / "run"), np.random.default_rng(0), []
    _, state = restore(folder)
    every = floats(state)
    parts = [[path for path in every if path[0].name == part] for part in ("params", "variables", "opt_state", "ema")]
    for part in filter(None, parts):
        path = part[generator.integers(len(part))]
        assert first_not_finite(spoilt(state, path)) == named(path)
    hit, compiled = parts[0][generator.integers(len(parts[0]))], run.compiled_train_step

    def poisoned(program, layout, count, reports=True):
        call = compiled(program, layout, count, reports)

        def spoiling(hyperparameters, state, feed, references):
            faults.append(int(call(hyperparameters, spoilt(state, *parts[0]), feed, references)[1]["fault"]))
            state, metrics = call(hyperparameters, state, feed, references)
            return spoilt(state, hit), metrics

        return spoiling

    before = files(folder / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(run, "compiled_train_step", poisoned)
        with pytest.raises(Diverged) as raised:
            alone.train(folder, checkpoint_every=2)
    assert str(raised.value).startswith(f"{named(hit)} is not finite at step 2 of 4, rows ")
    assert str(raised.value).endswith("the same command resumes from the checkpoint of step 1")
    assert faults == [NONFINITE] * 2  # once more as the step is repeated
    assert files(folder / "checkpoints") == before
    alone.assert_same_end(folder)
