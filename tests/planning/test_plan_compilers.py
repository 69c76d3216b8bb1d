"""The compilers of TPUs and GPUs, asked about real steps; `make test-plans` runs this where they are installed.

Every experiment is compiled by one of the two, and one of each kind of layer by both: a step takes each half a
minute, and test_experiments.py lowers one of each kind of model and task for both.
"""

import importlib
from pathlib import Path

import pytest

import experiments
from research.data import Text, Trained
from research.experiment import Experiment
from research.models import TransformerLanguageModel
from research.optimization import Optimizer
from research.planning.plan import plan
from research.tasks import LanguageModeling
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters
from tests.planning.compilers import gpu_compiler, tpu_compiler

EXPERIMENTS = [path.stem for path in sorted(Path(experiments.__path__[0]).glob("[!_]*.py"))]
BY_BOTH = {"cifar10_resnet", "dates_seq2seq", "digits_cnn", "text_transformer", "vowels_lstm"}


def language_model(layers, width, batch_size):
    """A GPT with a context of 2,048."""
    return Experiment(
        model=TransformerLanguageModel(
            vocabulary=32768,
            layers=layers,
            width=width,
            heads=16,
            max_length=2048,
            scan=True,
            remat="full",
            dtype="bfloat16",
        ),
        task=LanguageModeling(),
        data=Text(tokenizer=Trained("bytes", 256), length=2048),
        optimizer=Optimizer("adamw", learning_rate=1e-4),
        steps=1000,
        batch_size=batch_size,
    )


def kinds(planned):
    """The collectives of a plan."""
    return {each.kind for each in planned.candidate.communication.collectives}


def check(name, planned):
    """A shipped experiment fits, is counted in full, and takes some time."""
    assert (planned.candidate.fits, planned.aim.missing) == ("yes", None), name
    assert planned.candidate.memory.temporaries > 0
    assert (planned.work.open_loops, planned.candidate.communication.open_loops) == (0, 0)
    assert planned.step_seconds > 0


@tpu_compiler
@pytest.mark.parametrize("name", sorted({*EXPERIMENTS[::2], *BY_BOTH}))
def test_experiments_fit_four_tpus(name, tmp_path):
    experiment = importlib.import_module(f"experiments.{name}").experiment
    planned = plan(experiment, "v5e:2x2", data_dir=str(tmp_path), quick=True)
    check(name, planned)
    assert "all-reduce" in kinds(planned)


@gpu_compiler
@pytest.mark.parametrize("name", sorted({*EXPERIMENTS[1::2], *BY_BOTH}))
def test_experiments_fit_a_gpu(name, tmp_path):
    experiment = importlib.import_module(f"experiments.{name}").experiment
    planned = plan(experiment, "h100", data_dir=str(tmp_path))
    check(name, planned)
    assert not kinds(planned)


@tpu_compiler
def test_a_billion_parameters_are_divided_among_256_tpus(tmp_path):
    experiment = language_model(24, 2048, 256)
    assert 1.25e9 < count_parameters(abstract_state(experiment)) < 1.35e9
    planned = plan(experiment, "v5e:16x16", data_dir=str(tmp_path), quick=True)
    check("a billion", planned)
    # Whole on every device the state leaves no room for activations, which half of it does.
    assert (planned.candidate.placement.data, planned.candidate.placement.fsdp) == (128, 2)
    assert [each.fits for each in planned.others] == ["no"]
    parameters = planned.candidate.memory.held["parameters"]
    assert parameters == pytest.approx(4 * count_parameters(abstract_state(experiment)) / 2, rel=0.01)
    # Every gradient, in bfloat16, is added up over all.
    summed = sum(each.bytes for each in planned.candidate.communication.collectives if "reduce" in each.kind)
    assert summed > parameters


@gpu_compiler
def test_a_billion_parameters_fit_each_of_eight_gpus(tmp_path):
    experiment = language_model(24, 2048, 32)
    planned = plan(experiment, "h100:8", data_dir=str(tmp_path))
    check("a billion", planned)
    assert planned.candidate.placement.data == 8
    gradients = 2 * count_parameters(abstract_state(experiment))  # in bfloat16
    summed = sum(each.bytes for each in planned.candidate.communication.collectives if each.kind == "all-reduce")
    assert summed == pytest.approx(gradients, rel=0.1)


@tpu_compiler
def test_seven_billion_parameters_are_refused_by_four_tpus(tmp_path):
    planned = plan(language_model(32, 4096, 4), "v5e:2x2", data_dir=str(tmp_path), quick=True)
    assert (planned.candidate.fits, planned.candidate.placement.data) == ("no", 1)
    assert planned.candidate.compile_seconds is not None  # the compiler's own word
    least = sum(planned.candidate.memory.held.values()) - planned.chip.memory
    assert planned.candidate.lacking > least > 2 * 2**30
    assert all(each.fits == "no" for each in planned.others)


@gpu_compiler
def test_seven_billion_parameters_are_too_many_for_a_gpu(tmp_path):
    planned = plan(language_model(32, 4096, 4), "h100", data_dir=str(tmp_path))
    assert planned.candidate.fits == "no"
    assert planned.candidate.lacking == planned.candidate.memory.total - 80e9
