"""Several processes, killed at any moment: the same outcomes, and nothing done twice."""

import collections
import csv
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from research.ablation.report import tabulate, write_report
from research.ablation.store.study_folder import Store
from tests.ablation.execution import sharing
from tests.training import forking

pytestmark = pytest.mark.slow

SHARD = """
import json, sys
from pathlib import Path
import jax, numpy as np
from research.ablation.execution.modes.choosing import candidates
from research.ablation.execution.group_training import SweepBatches, stacked_hyperparameters, train_together
from research.data import Images
from research.devices import compile_together
from research.experiment import Experiment, RunOptions, replace, split
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import restore, train, train_step
from research.training.loop import open_splits
from research.training.update.step import init_state

assert jax.device_count() == 8
base = Experiment(
    model=CNN(channels=(3,), dense=(7,), dropout=0.2), task=Classification(), data=Images("digits", noise=0.05),
    optimizer=Optimizer("adamw", learning_rate=0.02, warmup=2, clip_norm=1.0, ema=0.8), steps=6, batch_size=17,
)
runs = [replace(base, {"seed": seed, "optimizer.learning_rate": 0.1 / (seed + 1)}) for seed in range(9)]
root, options = Path(sys.argv[1]), RunOptions(data_dir=sys.argv[2], log_every=1, evaluate_every=4, progress="none")
splits = open_splits(base, options)
for index in (0, 4, 8):
    train(runs[index], root / "alone" / str(index), options, splits)
for size, members in ((8, runs[:5]), (16, runs)):
    folders = [root / str(size) / str(index) for index in range(len(members))]
    ended = []
    train_together(members, folders, splits, options, "shard", size, lambda: False, lambda *end: ended.append(end))
    assert [index for index, _ in ended] == list(range(len(members)))
    for index in (0, 4, 8):
        if index < len(members):
            (_, state), (_, alone) = restore(folders[index]), restore(root / "alone" / str(index))
            for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-5)
    program, several = split(base)[0], (runs * 2)[:size]
    batches = SweepBatches(several, splits["train"], "device", "shard")
    step = compile_together(train_step, program, "shard", (0, 0, batches.axes, None), donate_state=True)
    hyperparameters = stacked_hyperparameters(several)
    state = compile_together(init_state, program, "shard", (0,))(hyperparameters)
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(state))
    text = step.lower(hyperparameters, state, batches.at(0), {}).compile().as_text()
    assert "convolution" in text or "dot" in text
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in text, collective
assert ("shard", 16) in list(candidates(9)) and ("shard", 8) in list(candidates(5))
print("agreed")
"""


@pytest.fixture(scope="module")
def start(data_dir, programs):
    """Runs the study in a process of its own; returns that and the file it prints to."""

    def start(root, execution="loop"):
        return forking.call(sharing.ablate_study, str(root), data_dir, execution, programs=programs)

    return start


def finish(process, log):
    """Wait for a process to end well and return what it printed."""
    ended = forking.finish(process, log)
    assert ended.code == 0, ended.text
    return ended.text


def completed(root):
    """Return {trial folder: how often an attempt came to an end}."""
    ends = [json.loads(file.read_text()).get("over") for file in root.glob("trials/*/attempts/*.json")]
    files = list(root.glob("trials/*/attempts/*.json"))
    return collections.Counter(file.parent.parent.name for file, end in zip(files, ends, strict=True) if end == "done")


def metrics(root):
    return [outcome.metrics for outcome in Store(root).outcomes()]


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    assert "6 trials: 6 done" in finish(*start(root))
    return root


def test_two_processes_share_the_work(undisturbed, start, tmp_path):
    processes = [start(tmp_path) for _ in range(2)]
    shown = [finish(*process).splitlines() for process in processes]
    assert completed(tmp_path) == collections.Counter(path.name for path in (tmp_path / "trials").iterdir())
    assert len(completed(tmp_path)) == 6
    told = [[line.split(":")[0] for line in lines if " seed " in line] for lines in shown]  # its own and the other's
    assert all(len(names) == len(set(names)) for names in told) and len({name for names in told for name in names}) == 6
    assert metrics(tmp_path) == metrics(undisturbed)


def test_processes_that_look_again_judge_the_same_trials(start, tmp_path):
    """Each look waits for the trials of the other process."""
    processes = [start(tmp_path, "until resolved") for _ in range(2)]
    remarks = [finish(*process).splitlines()[-1] for process in processes]
    assert remarks[0] == remarks[1] and "looks at 2, 4 seeds" in remarks[0]
    assert len(completed(tmp_path)) == 12 and max(completed(tmp_path).values()) == 1


def reported(root):
    """The rows of a study's report, without what a clock decides."""
    found, curves = tabulate(Store(root))
    write_report(root, found, [curves])
    with (root / "report.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.fault("F32")
def test_killed_at_ten_moments(undisturbed, start, tmp_path):
    """Each time a while after the process has begun a trial or gone on with one: compiling, training or saving."""
    generator = np.random.default_rng(0)
    kills = 0
    for folder in (tmp_path / str(index) for index in range(10)):
        while kills < 10:
            begun = len(list(folder.glob("trials/*/attempts/*.json")))
            process, _ = start(folder)
            while process.exitcode is None and len(list(folder.glob("trials/*/attempts/*.json"))) == begun:
                time.sleep(0.005)
            time.sleep(generator.uniform(0, 1))
            if process.exitcode is not None:
                break  # it was done before
            process.kill()
            process.join()
            kills += 1
        finish(*start(folder))
        assert {outcome.status for outcome in Store(folder).outcomes()} == {"done"}
        assert max(completed(folder).values()) == 1
        assert metrics(folder) == metrics(undisturbed)
        assert reported(folder) == reported(undisturbed)
        if kills == 10:
            break
    assert kills == 10


def test_a_signal_leaves_a_group_resumable(undisturbed, start, tmp_path):
    process, log = start(tmp_path, "vmap")
    while process.exitcode is None and not list(tmp_path.glob("trials/*/metrics.jsonl")):
        time.sleep(0.01)
    process.terminate()
    ended = forking.finish(process, log)
    assert ended.code == 75, ended.text
    assert "the same command resumes" in ended.text and "Traceback" not in ended.text
    assert "6 trials: 6 done" in finish(*start(tmp_path, "vmap"))
    assert max(completed(tmp_path).values()) == 1
    for outcome, expected in zip(Store(tmp_path).outcomes(), Store(undisturbed).outcomes(), strict=True):
        assert outcome.metrics["test"]["loss"] == pytest.approx(expected.metrics["test"]["loss"], abs=0.02)


def test_shard_is_each_run_alone_without_communication(data_dir, tmp_path):
    """On eight simulated devices, with one and with two trials a device.

    Two programs are compiled for eight devices, which only a process of its own has: half a minute.
    """
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, "-c", SHARD, str(tmp_path), data_dir]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == "agreed", run.stderr
