import dataclasses
from importlib.util import find_spec

import pytest

from research.errors import UsageError
from research.experiment import Placement, replace
from research.models import CNN
from research.planning.chips import CHIPS, Chip
from research.planning.collectives import Collective, Communication
from research.planning.memory import Memory
from research.planning.meshes import Candidate, best, largest, placements
from research.planning.plan import plan
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters
from tests.training.forking import call, finish, typed


def test_parameters_optimizer_and_batch_are_accounted_for(experiment, data_dir):
    planned = plan(experiment, "cpu", data_dir=data_dir)
    parameters = 4 * count_parameters(abstract_state(experiment))
    held = planned.candidate.memory.held
    # AdamW keeps two averages and a count; the average of the parameters and the step are other state.
    assert (held["parameters"], held["other state"]) == (parameters, parameters + 4)
    assert 2 * parameters < held["optimizer state"] < 2 * parameters + 100
    assert held["batch"] == 17 * (8 * 8 + 4)  # images of one byte a pixel, and labels
    assert (planned.devices, planned.candidate.fits, planned.step_seconds, planned.largest) == (
        1,
        "unknown",
        None,
        None,
    )
    assert planned.work.single > 6 * experiment.batch_size * parameters / 4
    assert (planned.tokens, planned.candidate.communication) == (None, Communication())


def test_meshes_divide_devices_and_batch_and_begin_with_the_least_communication(experiment, monkeypatch):
    def sizes(batch_size, devices, accumulation=1):
        changed = replace(experiment, {"batch_size": batch_size, "accumulation": accumulation})
        return [(each.data, each.fsdp, each.tensor) for each in placements(changed, devices)]

    batch = [(4, 1, 1), (2, 2, 1), (1, 4, 1)]
    assert sizes(12, 4) == [*batch, (2, 1, 2), (1, 2, 2), (1, 1, 4)]
    assert sizes(12, 4, accumulation=2) == [(2, 1, 2), (1, 2, 2), (1, 1, 4)]
    monkeypatch.setattr(CNN, "partition", ())
    assert sizes(12, 4) == batch
    assert sizes(17, 2) == []


def test_the_best_mesh_fits_and_sends_least():
    def candidate(fits, size, total, lacking=None):
        sent = Communication((Collective("all-gather", 2, 1, size),))
        return Candidate(Placement(), Memory({"parameters": total}), fits, lacking, sent, 1.0)

    small, quiet, loud = candidate("no", 10, 90, 5), candidate("yes", 20, 70), candidate("yes", 30, 50)
    assert best([small, loud, quiet]) is quiet
    worse = candidate("no", 10, 40, 9)
    never = dataclasses.replace(worse, lacking=1, communication=None, compile_seconds=None)
    assert best([worse, never, small]) is small


@pytest.mark.parametrize(
    ("target", "placement", "sentence"),
    (
        ("v5e:3x3", None, "does not come as 3x3"),
        ("cpus", None, 'did you mean "cpu"'),
        ("cpu", Placement(fsdp=3), "does not divide 1 device"),
        ("cpu", Placement("pmap"), "leave out placement.method pmap"),
    ),
)
def test_what_cannot_be_planned_is_said(experiment, target, placement, sentence):
    with pytest.raises(UsageError, match=sentence):
        plan(experiment, target, placement)


@pytest.fixture
def planned(tmp_path):
    """Run the command in a process of its own, for devices are settled once; return its code, output and errors."""

    def run(*arguments):
        errors = tmp_path / "errors"
        errors.unlink(missing_ok=True)
        words = ["plan", "--smoke", *arguments]
        ended = finish(*call(typed, "experiments.digits_cnn", words, str(tmp_path), {}, str(errors)))
        return ended.code, ended.text, errors.read_text()

    return run


@pytest.mark.slow
def test_the_command_plans_for_simulated_devices(planned):
    code, output, error = planned("--target", "cpu:8", "--batch_size", "16", "--model.dense", "7")
    assert (code, error) == (0, "")
    assert output.startswith("digits_cnn on cpu:8, 8 devices\n")
    assert "mesh        data 8 x fsdp 1 x tensor 1; 16 examples a step, 2 on each device" in output
    assert "all-reduce" in output
    assert "the memory of cpu is unknown" in output
    assert "step time   unknown, as the peaks of cpu are" in output


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_without_the_compiler_the_command_plans_for_simulated_devices_and_says_what_to_install(planned):
    large = ("--target", "v5e:1x1", "--model.dense", "70000", "70000")
    code, output, error = planned(*large)
    assert code == 2
    assert "does not fit, lacks" in output
    assert error.startswith("error: the compiler for v5e is not installed (pip install 'ceteris-research[plan-tpu]')")
    assert error.count("\n") == 1
    code, _, error = planned("--target", "v5e:2x2", "--placement.data", "3")
    assert (code, error) == (2, "error: a mesh of data 3 x fsdp 1 x tensor 1 does not divide 4 devices\n")


@pytest.mark.parametrize(
    ("room", "first", "limit", "found"),
    (
        (1000, 3, 50, (50, None)),  # all the data
        (41, 41, None, (41, 43)),  # to a sixteenth
        (13, 3, None, (13, 14)),
        (5, 100, None, (5, 6)),
        (0, 8, None, (None, 1)),
        (70, 80, 60, (70, 72)),
    ),
)
def test_the_largest_that_fits_is_found_in_few_trials(room, first, limit, found):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= room

    low, high = largest(fits, first, first <= room, limit)
    assert low is None or high is None or high - low <= max(1, low // 16)
    assert (low, high) == found
    assert len(tried) == len(set(tried)) < 12


def test_a_batch_that_does_not_fit_is_made_smaller(experiment, data_dir, monkeypatch):
    held = 4 * count_parameters(abstract_state(experiment))
    monkeypatch.setitem(CHIPS, "cpu", Chip("cpu", "cpu", memory=held))
    planned = plan(replace(experiment, {"batch_size": 2}), "cpu", data_dir=data_dir, largest_batch=True)
    assert (planned.candidate.fits, planned.largest.fits, planned.largest.too_large) == ("no", None, 1)
    assert planned.candidate.lacking == planned.candidate.memory.total - held
    assert planned.epoch == 1078


def test_data_that_is_not_prepared_is_no_obstacle(experiment, tmp_path):
    planned = plan(replace(experiment, {"data.name": "mnist"}), "cpu", data_dir=str(tmp_path))
    assert (planned.epoch, planned.candidate.fits) == (None, "unknown")
