"""What every experiment promises, run as a stranger would run it."""

import dataclasses
import importlib
import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import experiments
from research.ablation.design.study import plan
from research.data import Images
from research.devices import compile_for
from research.experiment import Experiment, RunOptions, fingerprint, from_json, leaves, replace, split, to_json
from research.planning.layers import layers
from research.planning.lowering import arguments, step_jaxpr
from research.training import Interrupted, check, restore, train, train_step
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters

NAMES = [path.stem for path in sorted(Path(experiments.__path__[0]).glob("[!_]*.py"))]


# One of each family stands for all in what depends on how a run goes; tests/training/test_every_family.py asks the same
# of every model. What depends on the experiment's own module is asked of each. Two train in a second or two.
QUICK = ("digits_cnn", "vowels_lstm")
FAMILIES = (*QUICK, "text_transformer")


def marked(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


WHOLE = marked(FAMILIES)


def module(name):
    return importlib.import_module(f"experiments.{name}")


def kind(name):
    """Return what the step of an experiment is made of: the classes of its model and its task."""
    return type(module(name).experiment.model), type(module(name).experiment.task)


def command(*words, cwd=None):
    """Run a command line, the interpreter in front, and return what it did."""
    environment = {**os.environ, "PYTHONPATH": str(Path(experiments.__path__[0]).parent)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """Runs `python -m MODULE WORDS` in this process, in an empty folder; returns exit code, output and errors.

    A process each would spend most of its time with imports and compilation; tests of the command line start some.
    """

    def run(module, *words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["", *words])
        monkeypatch.delitem(sys.modules, module, raising=False)  # or runpy warns of an earlier import
        with pytest.raises(SystemExit) as left:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        return left.value.code, *capsys.readouterr()

    return run


def test_there_are_experiments():
    assert {"digits_cnn", "mnist5k_cnn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_what_it_claims_costs_and_gave(name):
    doc = module(name).__doc__
    entries = re.findall(r"^(Claim|Command|Cost|Result)\s+\S", doc, flags=re.MULTILINE)
    assert entries == ["Claim", "Command", "Cost", "Result"]
    assert f"python -m experiments.{name}\n" in doc


@pytest.fixture
def smoke(data_dir, tmp_path, typed):
    """Runs the smoke variant of a documented command, or another command on the same folder; returns what it prints."""

    def run(name, *words):
        documented = re.search(r"^Command\s+python -m (.*)$", module(name).__doc__, flags=re.MULTILINE)[1].split()
        flags = ("--smoke", "--data_dir", data_dir, "--workdir", str(tmp_path / "a folder" / "run"))
        code, out, err = typed(documented[0], *words, *flags)
        assert (code, err) == (0, "")
        return out

    return run


@pytest.mark.parametrize("name", marked(NAMES))
def test_the_command_in_the_docstring_runs(name, smoke, data_dir, tmp_path):
    """And, with one of each family, a finished run says so and predicts."""
    out, workdir = smoke(name), tmp_path / "a folder" / "run"
    result = json.loads((workdir / "result.json").read_text())
    value = replace(module(name).experiment, module(name).smoke)
    assert math.isfinite(result["metrics"]["test"][value.task.monitor])
    assert result["fingerprint"] == fingerprint(value)
    assert "look at:" in out
    for file in ("result.json", "curves.png", "dataset.json", *result["illustrations"]):
        assert (workdir / file).stat().st_size > 0 and (file == "dataset.json" or str(workdir / file) in out)
    if name in FAMILIES:
        assert "finished" in smoke(name)
        smoke(name, "predict", "--output", "p.jsonl")
        assert len((tmp_path / "p.jsonl").read_text().splitlines()) == len(value.data.open("test", data_dir))


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_field(name, typed, monkeypatch):
    """All with --help_all; --help has two screens, on which the model's are, and counts the others."""
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = typed(f"experiments.{name}", "--help_all")
    assert (code, err) == (0, "")
    paths = {re.sub(r"(\.\d+)+$", "", path) for path, _, _ in leaves(module(name).experiment)}
    empty = ("start", "references", "groups")  # have flags where they have content
    for flag in {*(path for path in paths if path.split(".")[-1] not in empty), "workdir", "smoke"}:
        assert f"--{flag}" in out
    assert "Peak learning rate." in re.sub(r"\s+│\n│\s+", " ", out)
    code, short, err = typed(f"experiments.{name}", "--help")
    lines = short.splitlines()
    assert (code, err) == (0, "") and len(lines) <= 100 and max(map(len, lines)) <= 120
    shown = set(re.findall(r"^  --([\w.]+) ", short, flags=re.MULTILINE))
    assert {path for path in paths if path.startswith("model.")} | {"optimizer.learning_rate"} <= shown
    count = len(re.findall(r"^(?:│ |  )--\w", out, flags=re.MULTILINE))
    assert lines[-1] == f"--help_all shows all {count} flags, and what each takes."


@pytest.mark.parametrize("name", WHOLE)
def test_misspelt_flag_is_named(name, tmp_path, typed):
    code, _, err = typed(f"experiments.{name}", "--optimizer.learning_rat", "1")
    assert code == 2 and "--optimizer.learning_rate" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_value_is_sound(name):
    for experiment in (module(name).experiment, replace(module(name).experiment, module(name).smoke)):
        assert isinstance(experiment, Experiment)
        assert from_json(to_json(experiment)) == experiment
        check(experiment)


@pytest.mark.parametrize("name", NAMES)
def test_its_studies_can_be_run(name):
    """Each asks something, and varies something, also of the small variant."""
    studies = getattr(module(name), "studies", {})
    assert studies or not name.startswith("own_")  # readers of which have no study of their own yet
    for study in studies.values():
        assert "?" in study.description
        for experiment in (module(name).experiment, replace(module(name).experiment, module(name).smoke)):
            assert len(plan(experiment, study)) > 1


@pytest.mark.parametrize("name", WHOLE)
def test_its_layers_can_be_described(name):
    experiment = replace(module(name).experiment, module(name).smoke)
    model, *others = layers(experiment, step_jaxpr(experiment))
    assert model.size == count_parameters(abstract_state(experiment)) > 0 and others
    assert model.flops[0] > 0 and model.flops[1] > 0


# Where --smoke takes another dataset, the experiment's own needs a download.
PACKAGED = [name for name in NAMES if "data.name" not in module(name).smoke]


@pytest.mark.parametrize("name", [name for name in PACKAGED if hasattr(module(name).experiment.data, "mean")])
def test_standardisation_is_that_of_the_training_split(name, data_dir):
    data = module(name).experiment.data
    if isinstance(data, Images):
        images = data.preprocess(data.open("train", data_dir).arrays())["image"]
        assert abs(float(images.mean())) < 0.01 and abs(float(images.std()) - 1) < 0.01
    else:
        mean, std = (np.array(values) for values in data.statistics(data_dir))
        assert np.abs((np.array(data.mean) - mean) / std).max() < 0.01
        assert np.abs(np.array(data.std) / std - 1).max() < 0.01


@pytest.mark.parametrize("name", WHOLE)
def test_interrupted_equals_uninterrupted(name, data_dir, tmp_path):
    experiment = replace(module(name).experiment, module(name).smoke)
    options = RunOptions(data_dir=data_dir, log_every=1, progress="none", pictures=False)
    train(experiment, tmp_path / "whole", options)
    with pytest.raises(Interrupted):
        train(experiment, tmp_path / "parts", dataclasses.replace(options, stop_after=experiment.steps // 2))
    train(experiment, tmp_path / "parts", options)
    chex.assert_trees_all_equal(restore(tmp_path / "parts")[1], restore(tmp_path / "whole")[1])
    journals = [(tmp_path / part / "metrics.jsonl").read_bytes() for part in ("parts", "whole")]
    assert journals[0] == journals[1]


@pytest.mark.parametrize("name", WHOLE)
def test_half_precision_trains_without_nan(name, data_dir, tmp_path):
    """Parameters stay float32; computation is bfloat16."""
    experiment = replace(module(name).experiment, module(name).smoke)
    narrow = {path: "bfloat16" for path, _, _ in leaves(experiment) if path.endswith("model.dtype")}
    steps = {path: 4 for path, _, _ in leaves(experiment) if path == "steps" or path.endswith(".steps")}
    options = RunOptions(data_dir=data_dir, log_every=1, progress="none", pictures=False)
    train(replace(experiment, {**narrow, **steps}), tmp_path / "run", options)
    _, state = restore(tmp_path / "run")
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jax.numpy.dtype("float32")}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and all(math.isfinite(line["loss"]) for line in lines)
    assert all(math.isfinite(line["gradient_norm"]) for line in lines if line["split"] == "train")


# The first of a kind stands for all of it: platforms differ in what a layer is lowered to, not in how many there are.
@pytest.mark.parametrize("name", marked({kind(name): name for name in reversed(NAMES)}.values()))
def test_lowers_for_cpu_gpu_and_tpu(name):
    experiment = module(name).experiment
    program, hyperparameters = split(experiment)
    step = compile_for(train_step, program, donate_state=True)
    traced = step.trace(hyperparameters, *arguments(experiment))
    assert traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()


@pytest.mark.slow
@pytest.mark.optimized
def test_digits_cnn_keeps_its_promise(data_dir, tmp_path):
    """What the README shows first: a whole run, which takes ten seconds. Its own docstring speaks of five seeds."""
    options = RunOptions(data_dir=data_dir, evaluate_every=0, keep_best=False, pictures=False, progress="none")
    result = train(module("digits_cnn").experiment, tmp_path / "run", options)
    assert result.metrics["test"]["accuracy"] >= 0.985


def test_importing_research_imports_nothing_heavy():
    modules = "research.cli, research.training, research.data, experiments.digits_cnn, experiments.sunspots_lstm"
    heavy = ("tensorflow", "sklearn", "statsmodels", "torch", "mlxtend")
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = command("-W", "error", "-c", code)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


def test_importing_research_starts_no_device():
    code = "import jax, research.training, research.cli; print(jax._src.xla_bridge._backends)"
    assert command("-c", code).stdout == "{}\n"


TRAINS = """
import sys, research.cli, research.training.loop
from experiments.digits_cnn import experiment
from research.experiment import RunOptions, replace
from research.training import train
from research.training.storage.checkpoints import checkpoint

imported = ["orbax" in sys.modules]
save = checkpoint.Checkpoints.save

def watched(*arguments):
    imported.append("orbax" in sys.modules)
    save(*arguments)

checkpoint.Checkpoints.save = watched
options = RunOptions(data_dir=sys.argv[2], evaluate_every=0, checkpoint_every=2, progress="none", pictures=False)
train(replace(experiment, {"steps": 4, "batch_size": 4}), sys.argv[1], options)
print(imported[:3])
"""


def test_orbax_is_imported_at_the_first_save_and_not_before(data_dir, tmp_path):
    """So that what never saves does not wait for its import, and a run takes its first steps before it."""
    done = command("-c", TRAINS, str(tmp_path), data_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[False, False, True]\n"


COMMANDS = """
import gc, runpy, sys
import research.ablation, research.cli, research.training, research.weights

def is_looked_through(value):
    return any(found is value for found in gc.get_objects())

def command():
    try:
        runpy.run_module("experiments.digits_cnn", run_name="__main__")
    except SystemExit as error:
        return error.code

modules = vars(research.training)
imported = is_looked_through(modules)
first = command(), is_looked_through(modules)
since = [[]]
second = command(), is_looked_through(modules), is_looked_through(since)
print(imported, first, second)
"""


def test_a_command_spares_the_collector_what_is_imported_and_the_library_does_not():
    """At its start, so before it finds the flag misspelt; and once, as what is garbage by then would stay for good."""
    done = command("-c", COMMANDS, "train", "--model.droput", "0.1")
    assert done.stdout.splitlines()[-1:] == ["True (2, False) (2, False, True)"], done.stderr


def test_tests_run_on_the_cpu():
    assert jax.default_backend() == "cpu"
