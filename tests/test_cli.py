"""The command line: what a mistake says, and what every command prints."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time

import jax
import pytest

from experiments.digits_cnn import experiment, smoke
from research import cli
from research.errors import UsageError
from research.experiment import Experiment, fingerprint, replace
from research.training.storage.folder import Folder


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line in a folder of its own; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main(experiment, smoke=smoke, file="digits_cnn.py", doc="A doc.", arguments=list(map(str, arguments)))
        out, err = capsys.readouterr()
        return exit.value.code or 0, out, err

    return run


@pytest.fixture
def nothing_compiled(monkeypatch):
    """Fail the test where anything is compiled."""

    def refuse(*arguments, **options):
        raise AssertionError("something was compiled")

    monkeypatch.setattr("jax._src.compiler.compile_or_get_cached", refuse)


@pytest.mark.fault("F30")
@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--model.dropuot", "0.1"), "--model.dropout"),
        (("train", "--model.dropuot", "0.1"), "--model.dropout"),
        (("--optimizer.learning-rat", "1"), "--optimizer.learning_rate"),
        (("--steps", "3", "--model.dropuot", "0.1"), "--model.dropuot, 0.1; did you mean --model.dropout?"),
        (("--steps", "3", "--nothing_like_it"), "unrecognized options: --nothing_like_it; --help says what there is"),
        (("--model.dropout", "high"), "--model.dropout"),
        (("--model.dropout", "1.5"), "model.dropout must be in [0, 1), not 1.5"),
        (("--model.dropout", "nan"), "model.dropout must be finite"),
        (("--model.channels", "8", "0"), "model.channels.1 must be at least 1"),
        (("--model.activation", "rleu"), "relu"),
        (("--steps", "1.5"), "--steps"),
        (("--batch_size", "0"), "batch_size must be at least 1"),
        (("--seed", "-1"), "seed must be in"),
        (("--optimizer.algorithm", "adam"), "optimizer.l2"),
        (("trian",), 'did you mean "train"?'),
        (("--chaos", "kil:0.1"), 'did you mean "kill"?'),
        (("--chaos", "kill:-1"), "a probability from 0 to 1 of kill, not -1"),
        (("--chaos", "nan:0.1", "--safety.nonfinite", "skip"), "set safety.nonfinite to stop or rewind"),
        (("--chaos", "kill:0.1", "--processes.count", "2"), "--processes.count needs"),
        (("ablate", "--chaos", "kill:0.1"), "chaos is for train"),
        (("rollback",), "error: --step must be given; "),
        (("--data.name", "digitz"), 'did you mean "digits"?'),
        (("--data.name", "mnist"), "python -m research.data prepare mnist"),
        (("--data.validation", "dev"), '"dev"'),
        (("--model.classes", "9"), "model.classes"),
        (("evaluate", "--split", "tset"), "test"),
        (("predict",), "error: --output must be given; "),
        (("predict", "--output", "out.cvs"), 'did you mean ".csv"?'),
        (("describe", "--modle.dropout", "0.1"), "--model.dropout"),
    ],
)
def test_bad_usage_exits_with_2_and_writes_nothing(arguments, named, run, data_dir, tmp_path):
    if arguments[0] not in ("describe", "rollback", "trian"):
        arguments = (*arguments, "--data_dir", data_dir)
    code, out, err = run(*arguments)
    assert code == 2
    assert named in err
    assert err.startswith("error: ") and err.count("\n") == 1 and out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("F30")
def test_wrong_flags_are_found_within_two_seconds_of_the_imports(run):
    """Of the CPU, so that nothing depends on what else the machine does."""
    start = time.process_time()
    assert run("--model.dropuot", "0.1")[0] == 2
    assert time.process_time() - start < 2


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """The folder of a finished smoke run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as exit:
        arguments = ["--smoke", "--workdir", str(folder), "--data_dir", data_dir, "--progress", "none"]
        cli.main(experiment, smoke=smoke, file="digits_cnn.py", doc=None, arguments=arguments)
    assert not exit.value.code
    return folder


def test_default_folder_is_named_after_the_experiment(run, data_dir, tmp_path):
    code, out, err = run("--smoke", "--seed", 4, "--data_dir", data_dir)
    assert (code, err) == (0, "")
    small = replace(experiment, smoke)
    folder = tmp_path / "runs" / "digits_cnn" / f"{fingerprint(small)}-seed4"
    assert (folder / "result.json").exists()
    assert str(folder.relative_to(tmp_path)) in out
    assert "test at step 20: loss" in out and "look at:" in out


def test_another_experiment_in_the_folder_is_refused(run, data_dir, trained):
    before = (trained / "experiment.json").read_bytes()
    code, _, err = run("--smoke", "--model.kernel", 5, "--workdir", trained, "--data_dir", data_dir)
    assert code == 2 and "model.kernel: 3 -> 5" in err
    assert (trained / "experiment.json").read_bytes() == before


def test_damaged_experiment_exits_with_1(run, data_dir, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "experiment.json").write_text("{")
    for arguments in (("train", "--data_dir", data_dir), ("evaluate",)):
        code, _, err = run(*arguments, "--workdir", folder)
        assert code == 1 and err.startswith("error: ") and "experiment.json is damaged" in err
        assert err.count("\n") == 1
    assert (folder / "experiment.json").read_text() == "{"


def test_folder_that_cannot_be_written(run, data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("--smoke", "--workdir", tmp_path / "file" / "run", "--data_dir", data_dir)
    assert code == 2 and "cannot write to" in err and err.count("\n") == 1


@pytest.mark.fault("F16")
def test_rollback(run, data_dir, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    code, _, err = run("rollback", "--smoke", "--workdir", folder, "--step", "7")
    assert code == 2 and "step 7 is not kept" in err and err.rstrip().endswith("the steps that are kept: 20")
    code, out, _ = run("rollback", "--smoke", "--workdir", folder, "--step", "20")
    assert code == 0 and out == f"{folder} is back at step 20; what came later is in {folder / 'archive' / '1'}\n"
    with Folder(folder).claimed():
        code, _, err = run("rollback", "--smoke", "--workdir", folder, "--step", "20")
    assert code == 1 and "is running in" in err
    code, _, err = run("rollback", "--smoke", "--workdir", tmp_path / "none", "--step", "20")
    assert code == 1 and "is not a run folder" in err


def test_stop_after_exits_with_75(run, data_dir, tmp_path):
    arguments = ("--smoke", "--workdir", tmp_path / "run", "--data_dir", data_dir, "--progress", "none")
    code, _, err = run(*arguments, "--stop_after", 7)
    assert code == 75 and "stopped at step 7 of 20" in err
    assert run(*arguments)[0] == 0


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluate(split, run, data_dir, trained):
    code, out, err = run("evaluate", "--workdir", trained, "--split", split, "--data_dir", data_dir)
    assert (code, err) == (0, "")
    assert out.startswith(f"{split} at step 20: loss ")
    metrics = json.loads((trained / "result.json").read_text())["metrics"]
    if split in metrics:
        assert f"accuracy {metrics[split]['accuracy']:.4f}" in out


def test_evaluate_best(run, data_dir, tmp_path):
    """The best of three evaluations is not the last, under a learning rate that ruins what was learned."""
    arguments = ("--smoke", "--workdir", tmp_path / "run", "--data_dir", data_dir, "--progress", "none")
    ruin = ("--evaluate_every", 5, "--optimizer.schedule", "constant", "--optimizer.learning_rate", 5, "--steps", 15)
    assert run(*arguments, *ruin)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    validation = [(line["accuracy"], -line["step"]) for line in lines if line["split"] == "validation"]
    best = -max(validation)[1]
    for checkpoint, step in (("best", best), ("latest", 15)):
        arguments = ("--workdir", tmp_path / "run", "--checkpoint", checkpoint, "--data_dir", data_dir)
        code, out, _ = run("evaluate", *arguments)
        assert code == 0 and out.startswith(f"test at step {step}: ")
    assert best != 15


def test_evaluate_without_a_run(run, tmp_path):
    for arguments in (("--workdir", tmp_path / "no"), ()):
        code, _, err = run("evaluate", *arguments)
        assert code == 1 and "is not a run folder" in err


@pytest.mark.fault("F30")
def test_flags_that_contradict_the_folder_are_refused(run, data_dir, trained):
    code, _, err = run("evaluate", "--workdir", trained, "--smoke", "--model.kernel", 5, "--data_dir", data_dir)
    assert code == 2 and "model.kernel: 3 -> 5" in err


def test_predict(run, data_dir, trained, tmp_path):
    code, out, _ = run("predict", "--workdir", trained, "--output", tmp_path / "out.csv", "--data_dir", data_dir)
    assert code == 0 and "539 rows of test" in out
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(539))
    accuracy = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    assert accuracy == json.loads((trained / "result.json").read_text())["metrics"]["test"]["accuracy"]


def test_predict_another_split(run, data_dir, trained, tmp_path):
    arguments = ("--workdir", trained, "--output", tmp_path / "out.npz", "--data_dir", data_dir)
    assert "180 rows of validation" in run("predict", *arguments, "--split", "validation")[1]


@pytest.mark.usefixtures("nothing_compiled")
def test_predict_to_a_place_that_cannot_be_written(run, data_dir, trained, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ("--workdir", trained, "--output", tmp_path / "file" / "out.csv", "--data_dir", data_dir)
    code, _, err = run("predict", *arguments)
    assert code == 2 and "cannot write" in err


def test_describe(run):
    code, out, err = run("describe")
    assert (code, err) == (0, "")
    assert f"fingerprint {fingerprint(experiment)}" in out
    for text in ("learning_rate: 0.002", "dropout: 0.3", "block_1/Conv_0", "float32[3,3,32,64]", "53,002", "FLOPs"):
        assert text in out
    for text in ("image: float32[128,8,8,1] image of 8 x 8 pixels", "label: int32[128] one of 10 classes: 0, 1,"):
        assert text in out


def test_an_experiment_may_bring_its_own_classes(data_dir, tmp_path, capsys):
    """A model defined beside its experiment trains, resumes and evaluates through the same command line."""
    import flax.linen as nn

    class Linear(nn.Module):
        scale: float = 1.0

        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            return nn.Dense(10)(x.reshape(len(x), -1) * self.scale)

    mine = replace(experiment, {"model": Linear()})
    assert isinstance(mine, Experiment)
    for arguments in (["--steps", "5"], ["evaluate"]):
        with pytest.raises(SystemExit) as exit:
            words = [*arguments, "--workdir", str(tmp_path / "run"), "--data_dir", data_dir]
            cli.main(mine, smoke={}, file="mine.py", doc=None, arguments=words)
        assert not exit.value.code, capsys.readouterr().err


@pytest.mark.fault("F31")
def test_output_may_be_cut_short():
    """`head` closing the pipe is no error, whether Python buffers its output or not."""
    words = [sys.executable, "-m", "experiments.digits_cnn", "describe"]
    for buffering in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": buffering}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 0


def test_smoke_must_exist_in_the_experiment():
    with pytest.raises(UsageError):
        replace(experiment, {**smoke, "model.widht": 3})


def test_without_a_small_variant_smoke_says_what_the_module_lacks(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(experiment, file="digits_cnn.py", arguments=["--smoke"])
    assert exit.value.code == 2
    assert capsys.readouterr().err == (
        'error: digits_cnn has no small variant: state one in its module, such as main(..., smoke={"steps": 20})\n'
    )
