"""How the trials of one program run, and what is measured to choose."""

import contextlib
import dataclasses

import pytest

from research.ablation.execution.modes.choosing import (
    Choice,
    balanced,
    candidates,
    choose,
    halved,
    reduced,
    steps_of_a_call,
)
from research.ablation.execution.modes.measuring import Measurement
from research.ablation.execution.running import adapted, for_trials
from research.devices.cache import Compilations
from research.errors import UsageError
from research.experiment import Placement, RunOptions, replace
from research.training.initialization.start import first_state
from research.training.loop import open_splits


def measured(monkeypatch, seconds):
    """Let measuring give {(mode, size): seconds a step}, and count."""
    asked = []

    def measure(experiments, splits, options, mode, size):
        asked.append((mode, size))
        found = seconds[mode, size]
        if isinstance(found, Exception):
            raise found
        steps = options.steps_per_call
        if not isinstance(found, Measurement):
            return Measurement(mode, size, found / steps, 1.0, 100 * size, steps_per_call=steps)
        return found

    monkeypatch.setattr("research.ablation.execution.modes.choosing.measure", measure)
    return asked


def test_what_is_compiled_to_measure_is_not_compiled_again_to_run(base, options, tmp_path):
    several = [replace(base, {"seed": seed, "model.channels": (2,)}) for seed in range(2)]
    splits = open_splits(several[0], options)
    assert choose(several, splits, options, "auto", True).mode == "loop"
    with contextlib.closing(Compilations()) as compilations:
        first_state(several[0], tmp_path, options)
    assert (compilations.found, compilations.compiled) == (0, 0)


def test_the_fastest_way_is_chosen(base, options, monkeypatch):
    """A way must beat the loop by more than noise, and is not tried where little is left to do."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    asked = measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): 0.08})
    assert choose(eight, {}, options, "auto", True).mode == "vmap"
    assert asked == [("loop", 1), ("vmap", 8)]
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): 0.095})
    assert choose(eight, {}, options, "auto", True).mode == "loop"
    asked = measured(monkeypatch, {("loop", 1): 0.00035})
    assert choose(eight, {}, options, "auto", True).mode == "loop" and asked == [("loop", 1)]
    asked = measured(monkeypatch, {("loop", 1): 0.02})
    few = [replace(experiment, {"steps": 120}) for experiment in eight]
    assert choose(few, {}, options, "auto", True).mode == "loop" and asked == [("loop", 1)]
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): NotImplementedError("no batching rule")})
    choice = choose(eight, {}, options, "auto", True)
    assert choice.mode == "loop" and "no batching rule" in choice.measurements[1].error
    assert choose(eight[:1], {}, options, "auto", True).mode == "loop"
    assert choose(eight, {}, options, "vmap", False).mode == "loop", "they do not share their examples"


def test_where_a_step_takes_no_time_a_call_takes_many(base, options, monkeypatch):
    """One way is tried sooner there: eight thousand steps of 0.29 milliseconds are 2.3 times the compilation."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.016})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("loop", 1, 50)
    assert asked == [("loop", 1), ("vmap", 8), ("loop", 1)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.0001})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("vmap", 8, 50)
    assert asked == [("loop", 1), ("vmap", 8)], "what is left is not worth another try"
    more = [replace(experiment, {"steps": 100_000}) for experiment in eight]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.001})
    assert choose(more, {}, options, "auto", True).mode == "vmap" and asked == [("loop", 1), ("vmap", 8)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.01})
    assert choose(more, {}, options, "auto", True).mode == "loop" and len(asked) == 3
    measured(monkeypatch, {("loop", 1): 0.0002})
    assert choose(eight, {}, options, "auto", True).steps_per_call == 1, "too little is left to do"


def test_where_a_step_takes_little_time_a_call_takes_several(base, options, monkeypatch):
    assert [steps_of_a_call(seconds) for seconds in (1e-4, 1.9e-3, 2.1e-3, 9e-3, 1.1e-2, 2.1e-2)] == [
        50,
        50,
        10,
        10,
        5,
        1,
    ]
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    times = {("loop", 1): 0.005, ("vmap", 8): 0.04}
    monkeypatch.setattr("research.ablation.execution.modes.choosing.cores", lambda: 2)
    asked = measured(monkeypatch, times)
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("loop", 1, 10)
    assert asked == [("loop", 1), ("loop", 1), ("vmap", 8)]
    monkeypatch.setattr("research.ablation.execution.modes.choosing.cores", lambda: 1)
    asked = measured(monkeypatch, times)
    assert choose(eight, {}, options, "auto", True).steps_per_call == 10
    assert asked == [("loop", 1), ("loop", 1)], "on one core nothing is gained by running them together"


def test_memory_bounds_how_many_run_together(base, options, monkeypatch):
    """100 bytes alone and 800 for eight: 100 more for each, so 500 hold five."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    monkeypatch.setattr("research.ablation.execution.modes.choosing.available", lambda: 500 / 0.8)
    too_much = Measurement("vmap", 8, bytes=800, error="needs 0.0 GiB")
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): too_much, ("vmap", 5): 0.05})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size) == ("vmap", 5)
    measured(
        monkeypatch, {("vmap", 8): MemoryError(), ("vmap", 4): RuntimeError("RESOURCE_EXHAUSTED"), ("vmap", 2): 1.0}
    )
    assert choose(eight, {}, options, "vmap", True).size == 2
    assert reduced(too_much, None) == 4


def test_checkpoints_of_a_study_are_half_a_minute_apart():
    """A hundred steps of eight trials that take 10 ms each are eight seconds: three times as many are 24."""
    options = RunOptions(checkpoint_every=100)
    found = Measurement("vmap", 8, 0.01)
    assert adapted(options, Choice("vmap", 8, "measured", (found,))).checkpoint_every == 300
    assert adapted(options, Choice("vmap", 4, "measured", (found,))).checkpoint_every == 100  # not measured
    slow = dataclasses.replace(found, step_seconds=1.0)
    assert adapted(options, Choice("vmap", 8, "measured", (slow,))).checkpoint_every == 100


def test_sizes():
    assert [balanced(n, 8) for n in (1, 7, 8, 9, 17)] == [1, 7, 8, 5, 6]
    assert list(candidates(20)) == [("vmap", 7)]
    assert halved(Choice("vmap", 5, "")).size == 2 and halved(Choice("vmap", 1, "")) is None


def test_devices_share_the_trials_unless_each_trial_has_a_placement_of_its_own():
    one = RunOptions(placement=Placement(data=1), stop_diverged=False)
    assert for_trials(RunOptions(), "vmap") == (one, "vmap")
    many = RunOptions(placement=Placement(fsdp=2))
    each = dataclasses.replace(many, stop_diverged=False)
    assert for_trials(many, "auto") == for_trials(many, "loop") == (each, "loop")
    with pytest.raises(UsageError, match='together, as "vmap" does, are on one device each: choose loop'):
        for_trials(many, "vmap")
    with pytest.raises(UsageError, match="--profile is for a single run"):
        for_trials(RunOptions(profile="1:2"), "auto")
