"""Engines start workers that share a study; each test starts processes, or stands in for Slurm's own commands."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.execution.engines import slurm_engine
from research.ablation.execution.engines.workers import settings
from research.ablation.store.study_folder import Store
from research.ablation.strategies.halving import Rungs, open_screening
from research.cli import main
from research.errors import RunError, UsageError
from research.experiment import RunOptions

ABLATE = ["-m", "experiments.digits_cnn", "ablate", "--smoke", "--execution", "loop"]
STUDY = ["--axis", "model.dropout=0,0.1", "--seeds", "2"]

SBATCH = """#!/bin/sh
cp "$1" {folder}/script
echo "Submitted batch job 12"
"""


def ablate(*words, data_dir, **environment):
    """Run a command to its end and return what it printed."""
    command = [sys.executable, *ABLATE, *map(str, words), "--data_dir", data_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def ended(root):
    """How each attempt of each trial of a folder ended."""
    return [json.loads(file.read_text() or "{}").get("over") for file in root.glob("trials/*/attempts/*.json")]


def test_settings_are_read_as_numbers_where_they_are():
    assert settings(["timeout_min=30", "partition=gpu", "num_gpus=0.5"], "--slurm") == {
        "timeout_min": 30,
        "partition": "gpu",
        "num_gpus": 0.5,
    }
    with pytest.raises(UsageError, match='--slurm takes KEY=VALUE, not "gpu"'):
        settings(["gpu"], "--slurm")


def test_jobs_are_one_array_with_what_was_asked_for(tmp_path, monkeypatch):
    """With commands that stand in for Slurm's."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("srun", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    jobs = slurm_engine.submit(["true"], 3, tmp_path / "logs", {"partition": "short", "cpus_per_task": 2})
    assert [job.job_id for job in jobs] == ["12_0", "12_1", "12_2"]
    lines = (tmp_path / "script").read_text().splitlines()
    assert {
        "#SBATCH --array=0-2%3",
        "#SBATCH --partition=short",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --time=60",
    } <= {*lines}
    with pytest.raises(UsageError, match="--slurm: .*patrition"):
        slurm_engine.submit(["true"], 1, tmp_path / "logs", {"patrition": "short"})
    with pytest.raises(UsageError, match="--slurm: .*timeout_min"):
        slurm_engine.submit(["true"], 1, tmp_path / "logs", {"timeout_min": "long"})


def test_without_slurm_or_its_package_it_says_so(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="there is no Slurm here"):
        slurm_engine.submit(["true"], 1, tmp_path, {})
    with pytest.raises(UsageError, match='a cluster is "slurm", or "local"'):
        slurm_engine.submit(["true"], 1, tmp_path, {"cluster": "debug"})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"--engine slurm needs submitit: pip install .*\[slurm\]"):
        slurm_engine.submit(["true"], 1, tmp_path, {})


def test_a_job_that_is_cut_short_is_queued_again(tmp_path):
    worker = slurm_engine.Worker(["false"])
    assert worker.checkpoint().function is worker
    with pytest.raises(subprocess.CalledProcessError):
        worker()


SPACE = ("--search", "optuna", "--space", "optimizer.b1=uniform(0,0.9)")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--slurm", "partition=short"), "--slurm goes with --engine slurm"),
        (("--detach",), "--detach goes with --engine slurm"),
        (("--engine", "slurm", "--ray", "num_gpus=1"), "--ray goes with --engine ray"),
        (("--space", "optimizer.b1=uniform(0,0.9)"), "--space goes with --search optuna"),
        (("--search", "optuna"), "a search needs a space"),
        ((*SPACE, "--screen", "2"), "--screen has no meaning with --search"),
        ((*SPACE, "--metric", "macro_recall"), "maximize"),
        (("--axis", "model.dropout=0", "--screen", "2,x"), '--screen takes steps such as 100,300, not "2,x"'),
        (("--axis", "model.dropout=0", "--screen", "2"), "evaluation at step 2, and evaluate_every is 200"),
        (("--axis", "model.dropout=0", "--screen", "2", "--dry_run"), "--dry_run has no meaning with --screen"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, message, experiment, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(experiment, smoke={}, file="tiny.py", doc="Tiny.", arguments=["ablate", *words])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "words"), [("report", ()), ("power", ("--effect", "0.1")), ("ablate", ())])
def test_a_screening_is_never_tested(command, words, experiment, monkeypatch, tmp_path, capsys):
    study, root = Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=2), tmp_path / "screened"
    open_screening(experiment, study, root, Rungs((2,)), RunOptions(evaluate_every=2))
    with pytest.raises(SystemExit) as ended:
        arguments = [command, "--workdir", str(root), *words]
        main(experiment, smoke={}, studies={"only": study}, file="tiny.py", doc="Tiny.", arguments=arguments)
    assert ended.value.code == 2 and "nothing in it can be tested" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_that_fails_names_its_log(tmp_path):
    local = {"cluster": "local"}
    jobs = slurm_engine.submit([sys.executable, "-c", "raise SystemExit('no luck')"], 1, tmp_path, local)
    with pytest.raises(RunError, match="1 of 1 jobs failed, first .* whose log is (.*log.err)") as error:
        slurm_engine.wait(jobs)
    assert "no luck" in Path(str(error.value).split("whose log is ")[1].split(";")[0]).read_text()


@pytest.mark.slow
def test_jobs_of_submitit_share_a_study(data_dir, tmp_path):
    """Four jobs, which submitit starts as processes of their own that import all there is: half a minute."""
    words = [*STUDY, "--engine", "slurm", "--workers", "2", "--slurm", "cluster=local", "--workdir", tmp_path]
    shown = ablate(*words, data_dir=data_dir)
    assert "submitted" in shown and "report.html" in shown
    assert ended(tmp_path) == ["done"] * 6
    logs = [file.read_text() for file in (tmp_path / "slurm").glob("*.out")]
    assert len(logs) == 2 and not any(" seed " in log for log in logs)

    shown = ablate(*words, "--more_seeds", "1", "--detach", data_dir=data_dir)
    assert "report.html" not in shown
    deadline = time.monotonic() + 300
    while ended(tmp_path) != ["done"] * 9 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ended(tmp_path) == ["done"] * 9 and Store(tmp_path).study.seeds == 3  # added once, not by every worker


@pytest.mark.slow
def test_workers_share_a_screening_and_a_search(data_dir, tmp_path):
    rates = "--axis", "optimizer.learning_rate=0.01,1e-9"
    words = [*rates, "--seeds", "1", "--screen", "10", "--evaluate_every", "5", "--workdir", tmp_path / "screened"]
    shown = ablate(*words, "--workers", "2", data_dir=data_dir)
    assert "pruned" in shown and "no test may be made of them" in shown
    assert sorted(ended(tmp_path / "screened")) == ["done"] * 2 + ["stopped"] * 3

    words = ["--search", "optuna", "--space", "optimizer.learning_rate=log_uniform(1e-4,1e-1)", "--seeds", "1"]
    words += ["--trials", "4", "--batch", "2", "--workdir", tmp_path / "searched"]
    shown = ablate(*words, "--workers", "2", data_dir=data_dir)
    assert "best of 4 on validation, mean of 1 seeds" in shown and "search.csv" in shown
    assert ended(tmp_path / "searched") == ["done"] * 5


RAY_CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    cluster.add_node(num_cpus=1)
    command = [*sys.argv[1:], "--address", cluster.address]
    sys.exit(subprocess.run(command).returncode)
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
def test_workers_on_two_ray_nodes_share_a_study(data_dir, tmp_path):
    """A cluster of two nodes starts and stops, and a process on each imports all there is: half a minute."""
    pytest.importorskip("ray")
    words = [*STUDY, "--engine", "ray", "--workers", "2", "--workdir", str(tmp_path), "--data_dir", data_dir]
    done = subprocess.run(
        [sys.executable, "-c", RAY_CLUSTER, sys.executable, *ABLATE, *words],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "report.html" in done.stdout
    assert ended(tmp_path) == ["done"] * 6
