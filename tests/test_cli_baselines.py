"""Simple baselines on the command line: fitted once, shown beside the run and the study, and never in the way."""

import dataclasses
import json
import sys
from typing import NamedTuple

import numpy as np
import pytest

from experiments.baselines.logistic_regression import LogisticRegression
from research.ablation import Study, one_at_a_time
from research.baselines import Baseline
from research.cli import main
from research.experiment import replace

FITS = []


class Even(NamedTuple):
    """Every class is as likely."""

    def predict(self, examples):
        return {"log_probability": np.full((len(examples["image"]), 10), -np.log(10))}


@dataclasses.dataclass(frozen=True)
class Guess(Baseline):
    """Knows nothing, or fails."""

    fails: bool = False

    def fit(self, train, validation, seed):
        FITS.append(seed)
        if self.fails:
            raise ValueError("no room\nleft")
        return Even()


@pytest.fixture
def run(experiment, data_dir, capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    FITS.clear()
    value = replace(experiment, {"steps": 4, "model.channels": (3,), "optimizer.ema": 0.0})
    studies = {"drops": Study(one_at_a_time({"model.dropout": (0.1,)}), seeds=2)}

    def run(*words, baselines):
        if words[0] in ("train", "ablate"):
            words = (*words, "--data_dir", data_dir, "--no_pictures")
        with pytest.raises(SystemExit) as ended:
            arguments = list(words)
            main(value, smoke={}, studies=studies, baselines=baselines, file="tiny.py", doc="T.", arguments=arguments)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_a_run_shows_them_and_fits_them_once(run, tmp_path):
    known = {"guess": Guess()}
    for _ in range(2):
        code, out, err = run("train", "--workdir", "run", "--seed", "3", baselines=known)
        assert (code, err) == (0, "")
        assert "\nbaseline guess  test loss 2.3026  accuracy 0." in out and "  run/baselines  what simple" in out
    assert FITS == [3]
    (file,) = (tmp_path / "run" / "baselines").glob("guess-*-seed3/result.json")
    content = json.loads(file.read_text())
    assert content["baseline"] == {"class": "Guess", "fails": False}
    assert content["metrics"]["test"]["loss"] == pytest.approx(np.log(10), rel=1e-6)


def test_no_baselines_and_smoke_leave_them_out(run):
    for words in (("--no_baselines",), ("--smoke",)):
        code, out, _ = run("train", "--workdir", "run", *words, baselines={"guess": Guess()})
        assert code == 0 and "guess" not in out and "run/baselines" not in out
    assert FITS == []
    code, out, _ = run("train", "--workdir", "run", "--smoke", "--baselines", baselines={"guess": Guess()})
    assert code == 0 and "baseline guess  test loss" in out


def test_a_missing_extra_is_named_and_the_run_ends_well(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    known = {"logistic": LogisticRegression(), "guess": Guess()}
    code, out, err = run("train", "--workdir", "run", baselines=known)
    assert (code, err) == (0, "") and "baseline guess  test loss" in out
    named = 'LogisticRegression needs scikit-learn: pip install "ceteris-research[baselines]"'
    assert out.count(f"baseline logistic  not fitted: {named}\n") == 1


def test_one_that_raises_is_shown_and_the_study_ends_well(run, tmp_path):
    known = {"guess": Guess(), "fails": Guess(fails=True)}
    code, out, err = run("ablate", "--workdir", "study", baselines=known)
    assert (code, err) == (0, "")
    assert "baseline fails  not fitted: ValueError: no room\n" in out and "† guess" in out and "† fails" in out
    assert "fails, seed 0: ValueError: no room" in (tmp_path / "study" / "report.md").read_text()
    code, shown, _ = run("report", "--workdir", "study", baselines={})
    assert code == 0 and "† guess" in shown  # what is stored, whatever the module says now
    code, out, _ = run("ablate", "--workdir", "study", "--more_seeds", "1", baselines=known)
    assert code == 0 and FITS == [0, 0, 0]  # the one that failed is tried again, and more seeds ask for nothing


def test_a_dry_run_fits_nothing(run):
    code, out, _ = run("ablate", "--workdir", "study", "--dry_run", baselines={"guess": Guess()})
    assert (code, FITS) == (0, []) and "guess" not in out
