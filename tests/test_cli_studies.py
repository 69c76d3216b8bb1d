"""The commands of a study, as somebody would type them."""

import csv
import json
import re
import subprocess
import sys

import pytest

from research.ablation import Study, one_at_a_time
from research.cli import main
from research.experiment import replace
from research.training import train


@pytest.fixture(scope="module")
def baseline(experiment):
    return replace(experiment, {"steps": 6, "model.channels": (3,), "optimizer.ema": 0.0})


@pytest.fixture
def run(baseline, data_dir, capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    studies = {
        "rates": Study(one_at_a_time({"optimizer.learning_rate": (1e-3, 1e-2)}), seeds=2),
        "drops": Study(one_at_a_time({"model.dropout": (0.1,)}), seeds=2),
    }

    def run(*words, studies=studies):
        if words[0] == "ablate":
            words = (*words, "--data_dir", data_dir)
        with pytest.raises(SystemExit) as ended:
            main(baseline, smoke={}, studies=studies, file="tiny.py", doc="Tiny.", arguments=list(words))
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_a_study_is_run_reported_resumed_extended_and_verified(run, data_dir, tmp_path):
    code, out, err = run("ablate", "--study", "rates", "--workdir", "study")
    assert code == 0 and err == ""
    assert out.count(" left\n") == 6 and "0.001" in out and "report.html" in out
    with (tmp_path / "study" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3

    code, out, err = run("ablate", "--study", "rates", "--workdir", "study")
    assert code == 0 and " left\n" not in out  # nothing was missing

    code, out, _ = run("ablate", "--study", "rates", "--workdir", "study", "--more_seeds", "1", "--dry_run")
    assert code == 0 and "on seeds 0 to 2" in out and "6 done" in out and "3 of 9 trials left" in out
    code, out, _ = run("ablate", "--study", "rates", "--workdir", "study", "--more_seeds", "1")
    assert code == 0 and out.count(" left\n") == 3

    code, out, _ = run("verify", "--workdir", "study", "--row", "baseline", "--seed", "2", "--data_dir", data_dir)
    assert code in (0, 1)  # a trial run beside others may differ in its last digits
    code, _, err = run("verify", "--workdir", "study", "--row", "baselin", "--seed", "2")
    assert code == 2 and 'did you mean "baseline"' in err
    code, out, _ = run("power", "--workdir", "study", "--effect", "0.05")
    assert code == 0 and re.search(r"if pairing does not help: \d+ seeds", out)

    code, out, _ = run("ablate", "--study", "drops", "--workdir", "other")
    assert code == 0
    code, out, _ = run("report", "--workdir", "study", "other", "--output", "both")
    assert code == 0 and "dropout 0.1" in out
    assert (tmp_path / "both" / "report.tex").stat().st_size > 0


def test_axes_from_the_command_line_and_seeds_until_resolved(run, tmp_path):
    code, out, err = run("ablate", "--axis", "model.dropout=0", "--seeds", "2", "--until_resolved", "4")
    assert code == 0 and err == ""
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    assert folder.name.startswith("axes-")
    assert "4 trials: 4 done" in out and "8 trials: 8 done" in out  # four seeds cannot be significant
    assert json.loads((folder / "study.json").read_text())["looks"] == [2, 4]
    said = "Looks at 2, 4 seeds were fixed before the first run"
    assert said in out and said in (folder / "report.md").read_text()
    code, out, _ = run("report", "--workdir", str(folder), "--smoke")
    assert code == 0 and said in out
    for words, message in (
        (("--seeds", "2", "--until_resolved", "8"), "was begun with looks at 2, 4 seeds in its plan"),
        (("--more_seeds", "2"), "and 6 is none of them: --until_resolved 4"),
    ):
        code, _, err = run("ablate", "--axis", "model.dropout=0", *words)
        assert code == 2 and message in err, err


def test_two_processes_share_a_study(data_dir, tmp_path):
    words = [sys.executable, "-m", "experiments.digits_cnn", "ablate", "--smoke", "--axis", "model.dropout=0,0.1"]
    done = subprocess.run(
        [*words, "--seeds", "2", "--workers", "2", "--workdir", str(tmp_path), "--data_dir", data_dir],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stderr, len(list(tmp_path.glob("trials/*/result.json")))) == ("", 6)
    attempts = [file.name for file in tmp_path.glob("trials/*/attempts/*")]
    assert len(attempts) == 6, attempts  # none was run twice


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ablate",), "say what to vary: --study rates or drops, or --axis PATH=VALUE,VALUE"),
        (("ablate", "--study", "rats"), 'there is no study "rats"; did you mean "rates"'),
        (("ablate", "--axis", "model.dropuot=0.1"), '"model.dropuot"; did you mean "model.dropout"'),
        (("ablate", "--axis", "model.dropout=much"), "model.dropout"),
        (("ablate", "--study", "rates", "--axis", "model.dropout=0"), "give one of them"),
        (("ablate", "--study", "rates", "--metric", "recall"), 'no metric "recall"; did you mean "macro_recall"'),
        (("ablate", "--study", "rates", "--metric", "macro_recall"), "--maximize True or False"),
        (("ablate", "--study", "rates", "--metric", "acuracy", "--maximize", "True"), 'did you mean "accuracy"'),
        (("ablate", "--study", "rates", "--until_resolved", "1"), "a study of 2 seeds cannot end with 1"),
        (("report", "--workdir", "nothing"), "nothing holds no study"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(run, tmp_path, words, message):
    code, _, err = run(*words)
    assert code in (1, 2) and message in err, err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failing_cell_is_shown_and_the_others_finish(run, monkeypatch):
    def fragile(experiment, *arguments):
        if experiment.optimizer.algorithm == "adagrad":
            raise MemoryError("no memory for\nthis one")
        return train(experiment, *arguments)

    monkeypatch.setattr("research.ablation.execution.running.train", fragile)
    code, out, err = run("ablate", "--axis", "optimizer.algorithm=adagrad", "--seeds", "2")
    assert code == 1 and "2 of 4 trials failed" in err and "MemoryError: no memory for" in err
    assert "2 done, 2 failed" in out and "2/2 failed" in out
    monkeypatch.setattr("research.ablation.execution.running.train", train)
    code, out, _ = run("ablate", "--axis", "optimizer.algorithm=adagrad", "--seeds", "2", "--retry", "failed")
    assert code == 0 and out.count(" left\n") == 2 and "4 done" in out
