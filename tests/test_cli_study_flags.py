"""What the command line says of a study reaches its folder and its report; nothing is trained."""

import json

import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.store.study_folder import Store
from research.cli import main
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"model.dropout": (0.0, 0.1)}), seeds=6, metric="accuracy", maximize=True, margin=0.5)


@pytest.fixture
def run(experiment, data_dir, capsys, tmp_path):
    """Run `ablate` on a folder whose trials are finished, one cell better than the baseline by far."""

    def run(*words, study=STUDY, finished=True):
        if finished:
            store = Store.open(tmp_path, experiment, study)
            for trial in store.final_trials():
                better = 0.1 * (trial.cell.index == 1) + 0.001 * (trial.seed % 2)
                finish(store, trial, accuracy=0.5 + better, macro_f1=0.5 + better)
        arguments = ["ablate", *words, "--workdir", str(tmp_path), "--data_dir", data_dir]
        with pytest.raises(SystemExit) as ended:
            main(experiment, smoke={}, studies={"s": STUDY}, file="tiny.py", doc="Tiny.", arguments=arguments)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_the_report_has_the_names_of_experiment_and_study(run, tmp_path):
    assert run()[0] == 0
    assert (tmp_path / "report.md").read_text().startswith("# tiny: s\n")
    assert json.loads((tmp_path / "study.json").read_text())["title"] == "tiny: s"
    for words in (("--title", "Another one"), ()):  # which stays
        assert run(*words, finished=False)[0] == 0
    assert "<h1>Another one</h1>" in (tmp_path / "report.html").read_text()


def test_direction_level_and_margin_may_be_given(run, tmp_path):
    """With another metric, those that the study has for its own mean nothing."""
    asked = Study(STUDY.cells, seeds=6, metric="macro_f1", maximize=False, alpha=0.2)
    words = ("--metric", "macro_f1", "--maximize", "False", "--alpha", "0.2")
    code, out, _ = run(*words, study=asked)
    assert code == 0 and "Worse: dropout 0.0." in out and "Holm p < 0.2" in out and "Equivalent" not in out
    held = json.loads((tmp_path / "study.json").read_text())
    assert (held["metric"], held["maximize"], held["alpha"], held["margin"]) == ("macro_f1", False, 0.2, None)
    code, _, err = run(*words, "--margin", "0.3", study=asked)
    assert code == 2 and "margin: None -> 0.3" in err


def test_a_cell_is_dropped_by_its_name(run, tmp_path):
    code, out, _ = run("--drop", "dropout 0.0")
    assert code == 0 and "Dropped from the study, shown and counted nowhere: dropout 0.0." in out
    assert "Better" not in out and (tmp_path / "report.csv").read_text().count("\n") == 3
    code, _, err = run("--drop", "dropuot 0.1", finished=False)
    assert code == 2 and 'called "dropuot 0.1"; did you mean "dropout 0.1"' in err
    code, _, err = run("--drop", "dropout 0.1", "--dry_run", finished=False)
    assert code == 2 and "leave one of them out" in err


def test_a_study_with_trials_missing_does_not_end_well(run, tmp_path, monkeypatch):
    """As where the disk was full and no attempt could be claimed or written down."""
    run()
    (tmp_path / "trials").rename(tmp_path / "elsewhere")
    monkeypatch.setattr("research.cli.studies.ablate.ablate_until_resolved", lambda *arguments, **flags: None)
    code, out, err = run(finished=False)
    assert code == 1 and "18 of 18 trials are missing, first baseline with seed 0: the same command runs them" in err
